package clients

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// modelName is what every server calls its model.
const modelName = "org/model"

// tinyConfig is a Llama that says noise, fast, in 4096 ids and 4096 tokens of context.
const tinyConfig = `{"architectures": ["LlamaForCausalLM"], "model_type": "llama", "vocab_size": 4096, "hidden_size": 64,
	"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128,
	"max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "rope_theta": 10000, "hidden_act": "silu", "tie_word_embeddings": true}`

// folder has the server's binary.
var folder string

// binary builds the server once.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(folder, "serve")
	build := exec.Command("go", "build", "-o", path, "servebench/serving/cmd/serve")
	build.Stderr = os.Stderr
	return path, build.Run()
})

func TestMain(m *testing.M) {
	var err error
	if folder, err = os.MkdirTemp("", "servebench-clients-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	status := m.Run()
	os.RemoveAll(folder)
	os.Exit(status)
}

// TestRandom runs every client against random weights.
func TestRandom(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(tinyConfig), 0o600))
	clients(t, start(t, "--model", dir, "--load-format", "dummy", "--seed", "1"))
}

// TestSmolLM2 runs every client against a real model's.
func TestSmolLM2(t *testing.T) {
	clients(t, start(t, "--model", testdata.SmolLM2(t), "--max-model-len", "2048"))
}

// clients runs every client against one server.
func clients(t *testing.T, url string) {
	t.Helper()
	for _, c := range []struct {
		name string
		test func(t *testing.T, url string)
	}{
		{"openai-go completions", goCompletions},
		{"openai-go chat", goChat},
		{"openai-go errors", goErrors},
		{"openai for Python", pythonOpenAI},
		{"TGI's for Python", pythonTextGeneration},
		{"openai for JavaScript", nodeOpenAI},
		{"figures", figures},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, url) })
	}
}

// start runs the server on a free port until the test ends, and returns its URL
// when it is ready.
func start(t *testing.T, args ...string) string {
	t.Helper()
	path, err := binary()
	require.NoError(t, err, "building the server")
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, path, append(args, "--served-model-name", modelName, "--host", "127.0.0.1", "--port", "0",
		"--max-num-seqs", "8", "--max-num-batched-tokens", "128", "--shutdown-timeout", "1")...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	stderr, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var said strings.Builder
	ready, ended := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			said.WriteString(lines.Text() + "\n")
			if _, after, ok := strings.Cut(lines.Text(), "ready on "); ok {
				url, _, _ := strings.Cut(after, ",")
				ready <- url
			}
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("the server ended with %v and said:\n%s", err, said.String())
		}
	})
	select {
	case url := <-ready:
		return url
	case <-ended:
		require.FailNowf(t, "the server did not start", "%s", said.String())
		return ""
	}
}
