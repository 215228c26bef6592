package target

import (
	"context"
	"runtime"
	"strconv"
)

// LlamaServerEnv names the environment variable with the path of llama.cpp's server.
const LlamaServerEnv = "SERVEBENCH_LLAMA_SERVER"

// llamacpp is llama.cpp's server as a local process.
var llamacpp = Target{
	Name:     "llamacpp",
	Variable: LlamaServerEnv,
	Ready:    "/health", // 503 while the model loads
	Capabilities: Capabilities{
		IgnoreEOS:    "banned, by ignore_eos: another token is taken in its place",
		Seed:         true,
		StreamUsage:  true,
		TokenPrompts: true,
		Chat:         true,
		GGUF:         true,
		PrefixCache:  true,
		Dtypes:       []string{"auto"}, // the file's; the KV cache is float16
		NoKeepAlive:  true,             // after a stream
	},
	Program: find(LlamaServerEnv, "llama-server", "llama.cpp's server"),
	Version: func(ctx context.Context, program string) (string, error) { return firstLine(ctx, program, "--version") },
	// A slot is a request that is computed; -c is shared by all slots.
	Args: func(c Config) []string {
		args := []string{"-m", c.Model, "--alias", c.Served, "--host", c.host(), "--port", strconv.Itoa(c.Port),
			"-t", strconv.Itoa(runtime.NumCPU()), "-np", strconv.Itoa(c.MaxNumSeqs),
			"-c", strconv.Itoa(c.MaxNumSeqs * c.MaxModelLen), "--no-webui"}
		if !c.PrefixCaching {
			args = append(args, "--no-cache-prompt")
		}
		return append(args, c.Extra...)
	},
	Payload: func(r Request) any {
		return struct {
			body
			llamaDefaults
			CachePrompt bool `json:"cache_prompt"`
		}{openAI(r).(body), llamaDefaults{RepeatPenalty: 1}, r.SharedPrefix}
	},
}

// llamaDefaults turns off what a request that leaves it out gets: top_k 40 and
// min_p 0.05.
type llamaDefaults struct {
	TopK          int     `json:"top_k"`
	MinP          float64 `json:"min_p"`
	RepeatPenalty float64 `json:"repeat_penalty"`
}
