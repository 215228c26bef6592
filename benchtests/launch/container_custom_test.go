//go:build linux

package launch

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// builder names the image that serving/Dockerfile builds in; .ci/builder makes
// one where none can be pulled.
const builder = "SERVEBENCH_BUILDER"

// TestCustomServer builds serving/Dockerfile, runs the image, and asks the server
// in it.
func TestCustomServer(t *testing.T) {
	if testing.Short() {
		t.Skip("SKIPPED: the image's build takes a minute of two cores")
	}
	needDocker(t)
	if os.Getenv(builder) == "" {
		t.Skipf("SKIPPED, serving/Dockerfile is not built here: %s names no image to build it in (.ci/builder makes one, golang:1.26-bookworm is one)", builder)
	}
	cmd := ContainerCommand{
		Image: "servebench:cpu",
		Build: &Build{Context: testdata.Path(".."), Dockerfile: "serving/Dockerfile", Args: map[string]string{"BUILDER": os.Getenv(builder)}},
		Cmd:   []string{"--model", "/models", "--load-format", "dummy", "--dtype", "float32", "--threads", "1"},
		Port:  8000, Ready: "/health", Log: filepath.Join(t.TempDir(), "log"),
		Mounts: []Mount{{Host: tinyModel(t), Path: "/models", ReadOnly: true}},
	}
	c, err := StartContainer(t.Context(), cmd)
	require.NoError(t, err)
	t.Cleanup(func() { c.Stop() })

	const body = `{"model":"/models","prompt":"words","max_tokens":5,"ignore_eos":true,"temperature":0`
	var sync struct {
		Choices []struct{ Text string }
		Usage   struct {
			CompletionTokens int `json:"completion_tokens"`
		}
	}
	require.NoError(t, json.Unmarshal([]byte(strings.Join(complete(t, c.URL(), body+"}"), "")), &sync))
	require.Len(t, sync.Choices, 1)
	assert.Equal(t, 5, sync.Usage.CompletionTokens)

	text := ""
	lines := complete(t, c.URL(), body+`,"stream":true}`)
	require.NotEmpty(t, lines)
	require.Equal(t, "data: [DONE]", lines[len(lines)-1])
	for _, line := range lines[:len(lines)-1] {
		var event struct{ Choices []struct{ Text string } }
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(line, "data: ")), &event))
		require.Len(t, event.Choices, 1)
		text += event.Choices[0].Text
	}
	assert.Equal(t, sync.Choices[0].Text, text, "the stream is the same text")
	usage, err := c.Usage(t.Context())
	require.NoError(t, err)
	assert.Positive(t, usage.MemoryWorkingSet)
	require.NoError(t, c.Stop(), "SIGTERM ends it")
}

// tinyModel makes a folder with the shapes of a model of two layers, whose
// vocabulary is large enough for the server's own. The image's user, nobody, may
// read it.
func tinyModel(t testing.TB) string {
	data, err := os.ReadFile(testdata.Path("models", "tiny-gpt2", "config.json"))
	require.NoError(t, err)
	var config map[string]any
	require.NoError(t, json.Unmarshal(data, &config))
	config["vocab_size"] = 512
	data, err = json.Marshal(config)
	require.NoError(t, err)
	dir, err := os.MkdirTemp("", "servebench-model") // t.TempDir's parents are the user's own
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	require.NoError(t, os.Chmod(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), data, 0o644))
	return dir
}

// complete asks for a completion and returns the answer's lines that are not empty.
func complete(t testing.TB, url, body string) []string {
	t.Helper()
	resp, err := http.Post(url+"/v1/completions", "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		said, _ := io.ReadAll(resp.Body)
		t.Fatalf("%s: %s", resp.Status, said)
	}
	var lines []string
	for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
		if scanner.Text() != "" {
			lines = append(lines, scanner.Text())
		}
	}
	return lines
}
