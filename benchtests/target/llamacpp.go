package target

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// LlamaServerEnv names the environment variable with the path of llama.cpp's server.
const LlamaServerEnv = "SERVEBENCH_LLAMA_SERVER"

// The slots of llama.cpp's server, and the context that each gets: -c is shared
// by all of them. Other numbers can be given as extra arguments.
const (
	llamaSlots   = 16
	llamaContext = 1024
)

// llamacpp is llama.cpp's server as a local process. It takes GGUF files only.
var llamacpp = Target{
	Name:  "llamacpp",
	Ready: "/health", // 503 while the model loads
	Capabilities: Capabilities{
		IgnoreEOS:    true, // by banning the token, where others sample it and go on
		Seed:         true,
		StreamUsage:  true,
		TokenPrompts: true,
		Chat:         true,
		Dtypes:       []string{"auto"}, // the file's; the KV cache is float16
		NoKeepAlive:  true,             // after a stream
	},
	// What a request leaves out is not off here: the defaults are top_k 40 and min_p 0.05.
	Fields: map[string]any{"top_k": 0, "min_p": 0, "repeat_penalty": 1, "cache_prompt": false},
	Program: func(_ context.Context, _ string) (string, error) {
		name := os.Getenv(LlamaServerEnv)
		if name == "" {
			name = "llama-server"
		}
		path, err := exec.LookPath(name)
		if err != nil {
			return "", fmt.Errorf("llama.cpp's server (on the PATH, or named by $%s): %w", LlamaServerEnv, err)
		}
		return filepath.Abs(path)
	},
	Version: func(ctx context.Context, program string) (string, error) {
		out, err := exec.CommandContext(ctx, program, "--version").CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%s --version: %w", program, err)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return first, nil
	},
	Args: func(c Config) []string {
		args := []string{"-m", c.Model, "--alias", c.Served, "--host", "127.0.0.1", "--port", strconv.Itoa(c.Port),
			"-t", strconv.Itoa(runtime.NumCPU()), "-np", strconv.Itoa(llamaSlots),
			"-c", strconv.Itoa(llamaSlots * llamaContext), "--no-webui", "--no-cache-prompt"}
		return append(args, c.Extra...)
	},
}
