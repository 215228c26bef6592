package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/models"
	"servebench/serving/weights"
	"servebench/testdata"
)

// tinyConfig is a GPT-2 that a test can run in plain Go.
const tinyConfig = `{"model_type": "gpt2", "vocab_size": 400, "n_positions": 4096, "n_embd": 16, "n_layer": 2, "n_head": 2,
	"layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}`

func tinyFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(tinyConfig), 0o600))
	return dir
}

// running is a server under test, in this process.
type running struct {
	url     string
	signals chan os.Signal
	status  chan int
	mu      sync.Mutex
	log     bytes.Buffer
}

func (r *running) said() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.String()
}

// start runs the server with dummy weights on a free port, until it is ready.
func start(t *testing.T, args ...string) *running {
	t.Helper()
	r := &running{signals: make(chan os.Signal, 2), status: make(chan int, 1)}
	args = append([]string{"--model", tinyFolder(t), "--load-format", "dummy", "--port", "0", "--served-model-name", "tiny,other",
		"--max-num-seqs", "4", "--max-num-batched-tokens", "64", "--seed", "3"}, args...)
	out, in := io.Pipe()
	go func() {
		r.status <- run(args, io.Discard, in, r.signals)
		in.Close()
	}()
	ready := make(chan string, 1)
	go func() {
		defer close(ready)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			r.mu.Lock()
			fmt.Fprintln(&r.log, lines.Text())
			r.mu.Unlock()
			if _, after, ok := strings.Cut(lines.Text(), "ready on "); ok {
				ready <- after[:strings.IndexByte(after, ',')]
			}
		}
	}()
	url, ok := <-ready
	require.Truef(t, ok, "not ready: %s", r.said())
	r.url = url
	return r
}

// stop sends a signal and returns the exit status.
func (r *running) stop(sig os.Signal) int {
	r.signals <- sig
	return <-r.status
}

func (r *running) post(t *testing.T, path, body string) (int, []byte) {
	t.Helper()
	resp, err := http.Post(r.url+path, "application/json", strings.NewReader(body))
	require.NoError(t, err)
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, b
}

// completion is what a test looks at in an answer or an event.
type completion struct {
	Choices []struct {
		Text   string
		Finish string `json:"finish_reason"`
	}
	Usage struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
	}
	Error *struct{ Message string }
}

func (r *running) complete(t *testing.T, body string) completion {
	t.Helper()
	status, b := r.post(t, "/v1/completions", body)
	require.Equalf(t, http.StatusOK, status, "body %s", b)
	var c completion
	require.NoError(t, json.Unmarshal(b, &c))
	return c
}

// stream returns the joined text, the last event with choices and the usage.
func (r *running) stream(t *testing.T, body string) (text string, last completion) {
	t.Helper()
	status, b := r.post(t, "/v1/completions", body)
	require.Equalf(t, http.StatusOK, status, "body %s", b)
	require.True(t, strings.HasSuffix(string(b), "\n\ndata: [DONE]\n\n"), "end of %q", b)
	for data := range strings.SplitSeq(strings.TrimSuffix(string(b), "data: [DONE]\n\n"), "\n\n") {
		if data == "" {
			continue
		}
		var c completion
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(data, "data: ")), &c))
		usage := c.Usage
		if len(c.Choices) > 0 {
			text += c.Choices[0].Text
			last = c
		}
		last.Usage = usage
	}
	return text, last
}

// TestServe: a real server over loopback, from the command line to exit.
func TestServe(t *testing.T) {
	r := start(t)
	for _, line := range []string{"version ", "answering 503", "gpt2, 2 layers, width 16", "DUMMY, random from seed 3",
		"device ", "KV cache of ", "loaded in ", `serving ["tiny" "other"]`} {
		assert.Contains(t, r.said(), line)
	}
	resp, err := http.Get(r.url + "/health")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	resp, err = http.Get(r.url + "/v1/models/other")
	require.NoError(t, err)
	card, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Contains(t, string(card), `"max_model_len":4096`)

	// The same seed gives the same text, whole or streamed, alone or among others.
	const fields = `"prompt":"Once upon a time","max_tokens":40,"ignore_eos":true,"seed":5`
	want := r.complete(t, `{`+fields+`}`)
	require.Equal(t, 40, want.Usage.Completion)
	require.Equal(t, "length", want.Choices[0].Finish)
	require.NotEmpty(t, want.Choices[0].Text)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if i%2 == 0 {
				r.complete(t, fmt.Sprintf(`{"prompt":"Another one, number %d","max_tokens":30}`, i))
				return
			}
			text, last := r.stream(t, `{"stream":true,"stream_options":{"include_usage":true},`+fields+`}`)
			assert.Equal(t, want.Choices[0].Text, text)
			assert.Equal(t, want.Usage, last.Usage)
		})
	}
	wg.Wait()

	// A stop string out of the text itself cuts it there.
	text := want.Choices[0].Text
	stop := text[len(text)/2 : len(text)/2+3]
	quoted, err := json.Marshal(stop)
	require.NoError(t, err)
	cut := r.complete(t, `{"stop":`+string(quoted)+`,`+fields+`}`)
	assert.Equal(t, "stop", cut.Choices[0].Finish)
	assert.Equal(t, text[:strings.Index(text, stop)], cut.Choices[0].Text)
	assert.Less(t, cut.Usage.Completion, 40)

	status, b := r.post(t, "/v1/chat/completions", `{"model":"other","messages":[{"role":"user","content":"hi"}],"max_tokens":4}`)
	assert.Equalf(t, http.StatusOK, status, "body %s", b)
	status, b = r.post(t, "/v1/completions", `{"prompt":"x","max_tokens":5000}`)
	assert.Equal(t, http.StatusBadRequest, status)
	assert.Contains(t, string(b), "4096")

	http.DefaultClient.CloseIdleConnections()
	assert.Equal(t, exitOK, r.stop(os.Interrupt), r.said())
	assert.Contains(t, r.said(), "stopped")
	_, err = net.Dial("tcp", strings.TrimPrefix(r.url, "http://"))
	assert.Error(t, err, "the port is free again")
}

// openStream starts a stream that runs for long, and reads its first event.
func (r *running) openStream(t *testing.T) *bufio.Reader {
	t.Helper()
	resp, err := http.Post(r.url+"/v1/completions", "application/json",
		strings.NewReader(`{"prompt":"x","max_tokens":4000,"ignore_eos":true,"stream":true}`))
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	body := bufio.NewReader(resp.Body)
	line, err := body.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, `"text"`)
	return body
}

// TestCutOff: when the grace is over, a running stream ends with an error event
// and [DONE], and the server ends well.
func TestCutOff(t *testing.T) {
	r := start(t, "--shutdown-timeout", "0")
	body := r.openStream(t)
	require.Equal(t, exitOK, r.stop(syscall.SIGTERM), r.said())
	rest, err := io.ReadAll(body)
	require.NoError(t, err)
	assert.Contains(t, string(rest), `"code":503`)
	assert.True(t, strings.HasSuffix(string(rest), "data: [DONE]\n\n"))
	assert.Contains(t, r.said(), "cutting off 1 request")
}

// TestGrace: within the grace a running request is answered in full.
func TestGrace(t *testing.T) {
	r := start(t, "--shutdown-timeout", "600")
	body := r.openStream(t)
	require.Equal(t, exitOK, r.stop(syscall.SIGTERM), r.said())
	rest, err := io.ReadAll(body)
	require.NoError(t, err)
	assert.Contains(t, string(rest), `"finish_reason":"length"`)
}

// TestSecondSignal ends at once, whatever still runs.
func TestSecondSignal(t *testing.T) {
	r := start(t, "--shutdown-timeout", "600")
	r.openStream(t)
	r.signals <- os.Interrupt
	assert.Equal(t, exitFault, r.stop(os.Interrupt))
	assert.Contains(t, r.said(), "ended at once")
}

// TestCannotServe: every reason not to start is told, with its status.
func TestCannotServe(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	folder := tinyFolder(t)
	other := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(other, "config.json"), []byte(`{"model_type":"mamba"}`), 0o600))
	for _, tt := range []struct {
		args   []string
		status int
		says   []string
	}{
		{[]string{"--model", folder, "--port", port}, exitFault, []string{"port " + port, "in use", "--port"}},
		{[]string{"--model", folder, "--host", "192.0.2.1"}, exitFault, []string{"--host 192.0.2.1"}},
		{[]string{"--model", folder, "--load-format", "dummy", "--max-model-len", "4097"}, exitUsage, []string{"--max-model-len 4097", "2 to 4096"}},
		{[]string{"--model", folder, "--load-format", "dummy", "--kv-cache-memory-bytes", "1K"}, exitUsage, []string{"--kv-cache-memory-bytes 1024", "--max-model-len is 4096"}},
		{[]string{"--model", folder}, exitFault, []string{"safetensors"}},
		{[]string{"--model", other, "--load-format", "dummy"}, exitFault, []string{"mamba", "gpt2, llama"}},
		{[]string{"--model", filepath.Join(other, "config.json")}, exitFault, []string{"neither a folder nor a .gguf"}},
		{[]string{"--model", filepath.Join(other, "absent")}, exitFault, []string{"absent"}},
	} {
		var stderr bytes.Buffer
		args := append([]string{"--port", "0"}, tt.args...)
		status := run(args, io.Discard, &stderr, nil)
		assert.Equalf(t, tt.status, status, "for %v: %s", tt.args, stderr.String())
		for _, s := range tt.says {
			assert.Containsf(t, stderr.String(), s, "for %v", tt.args)
		}
		assert.NotContainsf(t, stderr.String(), "ready", "for %v", tt.args)
	}
}

// TestGatedModel: what the hub says is told in one line, with what to do, and
// without the token.
func TestGatedModel(t *testing.T) {
	hub := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Error-Code", "GatedRepo")
		w.Header().Set("X-Error-Message", "Access to model mistralai/Mistral-7B-Instruct-v0.1 is restricted and you are not in the authorized list.")
		w.WriteHeader(http.StatusForbidden)
	}))
	defer hub.Close()
	t.Setenv("HF_ENDPOINT", hub.URL)
	t.Setenv("HF_HOME", t.TempDir())
	t.Setenv("HF_TOKEN", "hf_secretsecret")
	for _, name := range []string{"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_DISABLE_IMPLICIT_TOKEN"} {
		t.Setenv(name, "")
	}
	var stderr bytes.Buffer
	c := &console{w: &stderr}
	assert.Equal(t, exitFault, run([]string{"--model", "mistral-7b-instruct", "--port", "0"}, io.Discard, c, nil))
	lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
	require.Len(t, lines, 2, "where it listens, and the error")
	for _, says := range []string{"serve: error: model mistral-7b-instruct", "mistralai/Mistral-7B-Instruct-v0.1", "not in the authorized list",
		"accept its licence at " + hub.URL + "/mistralai/Mistral-7B-Instruct-v0.1", "folder or a .gguf file", "--load-format dummy"} {
		assert.Contains(t, lines[1], says)
	}
	assert.NotContains(t, stderr.String(), "hf_secret")
}

// TestSignalWhileLoading ends at once and well.
func TestSignalWhileLoading(t *testing.T) {
	signals := make(chan os.Signal, 1)
	signals <- os.Interrupt
	var stderr bytes.Buffer
	c := &console{w: &stderr}
	assert.Equal(t, exitOK, run([]string{"--model", testdata.Path("models", "tiny-gpt2"), "--load-format", "dummy", "--port", "0"},
		io.Discard, c, signals))
}

// TestDTypeIsSaid: what auto makes of a checkpoint in float32.
func TestDTypeIsSaid(t *testing.T) {
	for dtype, says := range map[string]bool{"auto": true, "bfloat16": false, "float32": false} {
		var stderr bytes.Buffer
		c := &console{w: &stderr}
		o, err := parseFlags([]string{"--model", testdata.Path("models", "tiny-gpt2"), "--dtype", dtype}, io.Discard)
		require.NoError(t, err)
		ck, err := weights.Open(t.Context(), o.model, weights.Options{})
		require.NoError(t, err)
		spec, err := models.Describe(ck)
		require.NoError(t, err)
		o.device = "cpu"
		_, _, n, err := o.limits(ck, spec, c)
		require.NoError(t, err)
		require.NoError(t, ck.Close())
		o.sayWeights(c, weights.Location{Dir: o.model}, n)
		assert.Contains(t, stderr.String(), o.dtype.String())
		assert.Equal(t, says, strings.Contains(stderr.String(), "read as float32, are rounded"), dtype)
	}
}
