package target

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// find returns a Program that takes what is given, or else looks for what an
// environment variable names, or else for a name on the PATH. what is the
// program in words, for the error.
func find(env, name, what string) func(context.Context, string) (string, error) {
	return func(_ context.Context, given string) (string, error) {
		path, err := exec.LookPath(cmp.Or(given, os.Getenv(env), name))
		if err != nil {
			return "", fmt.Errorf("%s (%s on the PATH, or named by $%s): %w", what, name, env, err)
		}
		return filepath.Abs(path)
	}
}

// firstLine runs a program and returns the first line that it prints.
func firstLine(ctx context.Context, program string, args ...string) (string, error) {
	text, err := output(ctx, program, args...)
	first, _, _ := strings.Cut(text, "\n")
	return first, err
}

// output runs a program and returns what it prints.
func output(ctx context.Context, program string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, program, args...)
	out, err := cmd.CombinedOutput()
	text := strings.TrimSpace(string(out))
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", cmd, err, text)
	}
	return text, nil
}

// besides returns the Python of the virtual environment that a program was
// installed into, or in a folder py beside it; else the one on the PATH.
func besides(program string) (string, error) {
	dir := filepath.Dir(program)
	for _, path := range []string{filepath.Join(dir, "python3"), filepath.Join(dir, "py", "bin", "python3")} {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	path, err := exec.LookPath("python3")
	if err != nil {
		return "", fmt.Errorf("the Python that %s runs on: %w", program, err)
	}
	return path, nil
}

// packages returns a Version that asks Python for the versions of packages:
// asking the frameworks themselves loads all of them, which takes half a minute.
func packages(names ...string) func(context.Context, string) (string, error) {
	return func(ctx context.Context, program string) (string, error) {
		python, err := besides(program)
		if err != nil {
			return "", err
		}
		const script = "import sys; from importlib.metadata import version; print(', '.join(n + ' ' + version(n) for n in sys.argv[1:]))"
		return firstLine(ctx, python, append([]string{"-c", script}, names...)...)
	}
}

// unlessSet drops the variables that the suite itself was started with: who
// sets one means it.
func unlessSet(vars ...string) []string {
	var out []string
	for _, v := range vars {
		name, _, _ := strings.Cut(v, "=")
		if _, set := os.LookupEnv(name); !set {
			out = append(out, v)
		}
	}
	return out
}
