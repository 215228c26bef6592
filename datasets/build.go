package datasets

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
)

// TokenizeEnv names the environment variable with the tokenizer program's path.
const TokenizeEnv = "SERVEBENCH_TOKENIZE"

// tokenizePackage is asked over a pipe, never imported: the suite must not
// depend on the server it measures.
const tokenizePackage = "servebench/serving/cmd/tokenize"

// findTokenizer returns the program's path: the one given, the environment's,
// or one that is built.
func findTokenizer(ctx context.Context, given string) (string, error) {
	for _, choice := range []struct{ from, path string }{{"given", given}, {"$" + TokenizeEnv, os.Getenv(TokenizeEnv)}} {
		if choice.path == "" {
			continue
		}
		if _, err := exec.LookPath(choice.path); err != nil {
			return "", fmt.Errorf("tokenizer program (%s): %w", choice.from, err)
		}
		return filepath.Abs(choice.path)
	}
	return BuildTokenizer(ctx)
}

// BuildTokenizer builds the tokenizer program and returns its path.
func BuildTokenizer(ctx context.Context) (string, error) {
	program, err := Build(ctx, tokenizePackage)
	if err != nil {
		return "", fmt.Errorf("building the tokenizer program: %w (or give a built one in %s)", err, TokenizeEnv)
	}
	return program, nil
}

// Build builds a program of this module into the module's bin/ folder and
// returns its path. Go's build cache makes it cheap when nothing changed.
func Build(ctx context.Context, pkg string) (string, error) {
	tool, err := exec.LookPath("go")
	if err != nil {
		return "", errors.New("the go command is not on the PATH: install Go")
	}
	root, err := ModuleRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(root, "bin")
	if err := os.MkdirAll(bin, 0o755); err != nil {
		return "", err
	}
	// Built beside its place and renamed: another process may be running the
	// one that is there, or building it at the same time.
	dir, err := os.MkdirTemp(bin, ".build-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	name := path.Base(pkg)
	fresh := filepath.Join(dir, name)
	cmd := exec.CommandContext(ctx, tool, "build", "-o", fresh, pkg)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("%s: %w\n%s", cmd, err, out)
	}
	program := filepath.Join(bin, name)
	return program, os.Rename(fresh, program)
}

var moduleLine = regexp.MustCompile(`(?m)^module servebench\s*$`)

// ModuleRoot finds the module's folder, at or above the working folder.
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
			return "", fmt.Errorf("%s is not in a checkout of servebench", start)
		}
	}
}
