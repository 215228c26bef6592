package target

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"servebench/datasets"
)

// ServeEnv names the environment variable with the custom server's path.
const ServeEnv = "SERVEBENCH_SERVE"

// custom is this project's own server, run as a local process. The suite does
// not import it: it is built like any other program.
var custom = Target{
	Name:  "custom",
	Ready: "/health",
	Capabilities: Capabilities{
		IgnoreEOS:    true,
		MinTokens:    true,
		Seed:         true,
		StreamUsage:  true,
		TokenPrompts: true,
		Chat:         true,
		DummyWeights: true,
		Dtypes:       []string{"bfloat16", "float32"},
	},
	Program: func(ctx context.Context, given string) (string, error) {
		if given == "" {
			given = os.Getenv(ServeEnv)
		}
		if given == "" {
			program, err := datasets.Build(ctx, "servebench/serving/cmd/serve")
			if err != nil {
				return "", fmt.Errorf("building the custom server (or give a built one with -serve-bin): %w", err)
			}
			return program, nil
		}
		path, err := exec.LookPath(given)
		if err != nil {
			return "", fmt.Errorf("the custom server's program (-serve-bin or $%s): %w", ServeEnv, err)
		}
		return filepath.Abs(path)
	},
	Version: func(ctx context.Context, program string) (string, error) {
		out, err := exec.CommandContext(ctx, program, "--version").Output()
		if err != nil {
			return "", fmt.Errorf("%s --version: %w", program, err)
		}
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return first, nil
	},
	Args: func(c Config) []string {
		args := []string{"--model", c.Model, "--served-model-name", c.Served,
			"--host", "127.0.0.1", "--port", strconv.Itoa(c.Port), "--dtype", c.Dtype}
		if c.Dummy {
			args = append(args, "--load-format", "dummy", "--seed", strconv.FormatUint(c.Seed, 10))
		}
		return append(args, c.Extra...)
	},
}
