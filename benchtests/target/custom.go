package target

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
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
			return build(ctx, "servebench/serving/cmd/serve", "serve")
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

// build builds a program of this module into its bin folder and returns its
// path. Go's build cache makes it cheap when nothing changed.
func build(ctx context.Context, pkg, name string) (string, error) {
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	// Built beside its place and renamed: the one that is there may be running.
	dir, err := os.MkdirTemp(bin, ".build-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	fresh := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-o", fresh, pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("build the custom server (or give a built one with -serve-bin): %s: %w\n%s", cmd, err, out)
	}
	program := filepath.Join(bin, name)
	return program, os.Rename(fresh, program)
}

var moduleLine = regexp.MustCompile(`(?m)^module servebench\s*$`)

// ModuleRoot finds the folder of this module, at or above the working folder.
func ModuleRoot() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if text, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && moduleLine.Match(text) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New(start + " is not in a checkout of servebench")
		}
	}
}
