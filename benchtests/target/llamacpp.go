package target

import (
	"context"
	"net/http"
	"strconv"
)

// LlamaServerEnv names the environment variable with the path of llama.cpp's server.
const LlamaServerEnv = "SERVEBENCH_LLAMA_SERVER"

// llamacpp is llama.cpp's server, recorded at build 11434. Where prefixes may be
// kept it keeps them as it does by default, in its slots and as copies in host
// memory; no route empties those. One that somebody else started without the
// copies (--cache-ram 0) and with a folder for saved slots can be reset.
var llamacpp = Target{
	Name:     "llamacpp",
	Variable: LlamaServerEnv,
	Binary:   "llama-server",
	Ready:    "/health", // 503 while the model loads
	Capabilities: Capabilities{
		Sync:         true,
		IgnoreEOS:    "banned, by ignore_eos: another token is taken in its place",
		Seed:         true,
		StreamUsage:  true,
		TokenPrompts: true,
		Chat:         true,
		GGUF:         true,
		PrefixCache:  true,
		MultiGPU:     true,
		Dtypes:       []string{"auto"}, // the file's; the KV cache is float16
		NoKeepAlive:  true,             // after a stream
	},
	Program: find(LlamaServerEnv, "llama-server", "llama.cpp's server"),
	Version: func(ctx context.Context, program string) (string, error) { return firstLine(ctx, program, "--version") },
	Args:    llamaArgs,
	Payload: func(r Request) any {
		return struct {
			body
			llamaDefaults
			CachePrompt bool `json:"cache_prompt"`
		}{openAI(r).(body), llamaDefaults{RepeatPenalty: 1}, r.SharedPrefix}
	},
	About: About{Route: "/props", Field: "build_info"},
	Gauges: Gauges{
		Route:   "/metrics",
		Running: []string{"llamacpp:requests_processing"},
		Waiting: []string{"llamacpp:requests_deferred"},
		KVCache: []string{"llamacpp:kv_cache_usage_ratio"}, // builds of before mid-2025
	},
	Resets: []Step{{Method: http.MethodPost, Route: "/slots/%d?action=erase", Each: "/slots"}},
	Tokens: &TokenRoute{
		Route: "/tokenize",
		Body:  func(_, text string) any { return object{"content": text, "add_special": true} },
		IDs:   parseTokens,
	},
	// The project's own images. That both of this build are there was seen where
	// others pin them; their entrypoint is the server (.devops/*.Dockerfile).
	Image: &Image{
		GPU: "ghcr.io/ggml-org/llama.cpp:server-cuda-b11151", CPU: "ghcr.io/ggml-org/llama.cpp:server-b11151",
		Port: 8080, Models: "/models",
	},
}

// llamaArgs are the server's flags. A slot is a request that is computed; -c is
// shared by all slots.
func llamaArgs(c Config) []string {
	args := []string{"-m", c.Model, "--alias", c.Served, "--host", c.host(), "--port", strconv.Itoa(c.Port),
		"-np", strconv.Itoa(c.MaxNumSeqs), "-c", strconv.Itoa(c.MaxNumSeqs * c.MaxModelLen),
		"--no-webui", "--metrics"}
	if !c.PrefixCaching {
		args = append(args, "--no-cache-prompt", "--cache-ram", "0")
	}
	if c.MaxNumBatchedTokens > 0 {
		args = append(args, "-b", strconv.Itoa(c.MaxNumBatchedTokens))
	}
	switch n := c.tensorParallel(); {
	case n == 0: // a build for GPUs would take one for large matrices
		args = append(args, "--device", "none", "-t", strconv.Itoa(c.threads()))
	case n == 1:
		args = append(args, "-ngl", "999", "-sm", "none")
	default:
		args = append(args, "-ngl", "999", "-sm", "row")
	}
	return append(args, c.Extra...)
}

// llamaDefaults turns off what a request that leaves it out gets: top_k 40 and
// min_p 0.05.
type llamaDefaults struct {
	TopK          int     `json:"top_k"`
	MinP          float64 `json:"min_p"`
	RepeatPenalty float64 `json:"repeat_penalty"`
}
