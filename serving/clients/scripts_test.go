package clients

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// prepared returns the folder that install.sh filled with the pinned versions.
// A test is skipped where none is named, and fails where the one that is named
// lacks them.
func prepared(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("SERVEBENCH_CLIENTS")
	if dir == "" {
		t.Skip("SKIPPED, not tested here: client libraries (`make clients` installs them and sets SERVEBENCH_CLIENTS)")
	}
	have, err := os.ReadFile(filepath.Join(dir, "installed"))
	require.NoError(t, err, "SERVEBENCH_CLIENTS names a folder that install.sh did not finish")
	var want strings.Builder
	for _, f := range []string{"python/requirements.txt", "node/package.json", "node/package-lock.json"} {
		b, err := os.ReadFile(f)
		require.NoError(t, err)
		want.Write(b)
	}
	require.Equal(t, strings.TrimRight(want.String(), "\n"), string(have), "%s has other versions than are pinned: run install.sh", dir)
	return dir
}

// script runs one client and requires that it made every check, in order.
func script(t *testing.T, checks []string, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Env = append(os.Environ(), "NO_PROXY=127.0.0.1", "PYTHONDONTWRITEBYTECODE=1")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoErrorf(t, err, "after %s\n%s", out, stderr.String())
	var said []string
	for line := range strings.Lines(string(out)) {
		if check, ok := strings.CutPrefix(strings.TrimSpace(line), "ok "); ok {
			said = append(said, check)
		}
	}
	require.Equal(t, checks, said)
}

func pythonOpenAI(t *testing.T, url string) {
	dir := prepared(t)
	script(t, []string{"models", "model", "completion", "completion usage", "completion stream", "chat", "chat usage", "chat stream",
		"stop", "n", "seed", "n stream", "several prompts", "completion logprobs", "chat logprobs",
		"unknown model", "unknown model stream", "bad value", "too long", "async"},
		filepath.Join(dir, "python", "bin", "python"), "python/openai_client.py", url, modelName)
}

func pythonTextGeneration(t *testing.T, url string) {
	dir := prepared(t)
	script(t, []string{"generate", "greedy", "logprobs", "generate_stream", "stream text", "stream details",
		"return_full_text", "top_n_tokens", "decoder_input_details", "seed", "best_of", "stop", "truncate",
		"too long", "too long stream", "refused",
		"hub", "hub details", "hub stream", "hub too long", "hub too long stream", "async"},
		filepath.Join(dir, "python", "bin", "python"), "python/text_generation_client.py", url)
}

func nodeOpenAI(t *testing.T, url string) {
	dir := prepared(t)
	script(t, []string{"models", "completion", "completion stream", "chat", "chat stream", "chat stream helper",
		"stop", "n", "chat logprobs", "completion logprobs", "unknown model", "unknown model stream", "bad value", "abort"},
		filepath.Join(dir, "python", "bin", "node"), "node/openai_client.mjs", url, modelName, filepath.Join(dir, "node"))
}
