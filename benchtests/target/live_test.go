package target

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/testdata"
)

// start runs a target's program as its data says, and returns its URL once it is
// ready.
func start(t *testing.T, target Target, program string, c Config) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c.Port = l.Addr().(*net.TCPAddr).Port
	require.NoError(t, l.Close())
	if target.Prepare != nil {
		require.NoError(t, target.Prepare(&c))
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer log.Close()
	cmd := exec.Command(program, target.Args(c)...)
	cmd.Stdout, cmd.Stderr = log, log
	require.NoError(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	url := fmt.Sprintf("http://127.0.0.1:%d", c.Port)
	for {
		if _, err := ask(t.Context(), nil, http.MethodGet, url, target.Ready, nil); err == nil {
			return url
		}
		select {
		case err := <-ended:
			ended <- err
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("%s ended before it was ready: %v\n%s", program, err, text)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// post sends a request as the target writes it.
func post(ctx context.Context, t *testing.T, target Target, url string, r Request) []byte {
	t.Helper()
	body, err := target.Body(r)
	require.NoError(t, err)
	answer, err := ask(ctx, nil, http.MethodPost, url, target.Route(r.API), json.RawMessage(body))
	require.NoError(t, err)
	return answer
}

// TestLiveLlama holds what the target says of llama.cpp against a server of it.
func TestLiveLlama(t *testing.T) {
	program, model := testdata.Peers(t, "llama", "llama-server"), testdata.Peers(t, "models", "smollm2-q4_1.gguf")
	c := Config{Model: model, Served: "m", Dtype: "auto", MaxModelLen: 512, MaxNumSeqs: 2, PrefixCaching: true,
		Extra: []string{"--slot-save-path", t.TempDir(), "--cache-ram", "0"}}
	url := start(t, llamacpp, program, c)

	name, err := llamacpp.ServedName(t.Context(), nil, url, "m")
	require.NoError(t, err)
	assert.Equal(t, "m", name)
	version, err := llamacpp.VersionAt(t.Context(), nil, url)
	require.NoError(t, err)
	assert.NotEmpty(t, version)
	ids, err := llamacpp.TokenizeText(t.Context(), nil, url, "m", capital)
	require.NoError(t, err)
	assert.Equal(t, capitalIDs, ids)
	load, err := llamacpp.Scrape(t.Context(), nil, url)
	require.NoError(t, err)
	assert.Equal(t, []float64{0, 0}, []float64{*load.Running, *load.Waiting})

	// cached asks the same again and returns how much of it was kept.
	cached := func() float64 {
		t.Helper()
		answer := post(t.Context(), t, llamacpp, url, Request{API: datasets.CompletionAPI, Mode: datasets.Sync, Served: "m", SharedPrefix: true, IgnoreEOS: true,
			Prompt: datasets.Prompt{Text: "One, two, three, four, five, six, seven, eight", Sampling: datasets.Sampling{TopP: 1, MaxTokens: 4}}})
		var a struct {
			Usage struct {
				Completion int `json:"completion_tokens"`
				Details    struct {
					Cached float64 `json:"cached_tokens"`
				} `json:"prompt_tokens_details"`
			}
		}
		require.NoError(t, json.Unmarshal(answer, &a))
		assert.Equal(t, 4, a.Usage.Completion)
		return a.Usage.Details.Cached
	}
	assert.Zero(t, cached())
	assert.Positive(t, cached())
	require.NoError(t, llamacpp.Reset(t.Context(), nil, url, "m"))
	assert.Zero(t, cached(), "nothing is left of it")
}
