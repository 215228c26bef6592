package client

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
	"servebench/testdata"
)

// rawServer answers every request with the same bytes, written by write, and
// then closes the connection.
func rawServer(t *testing.T, write func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				if readRequest(c) {
					write(c)
				}
			}()
		}
	}()
	return "http://" + l.Addr().String()
}

// readRequest reads a request with a body, and says whether it came.
func readRequest(c net.Conn) bool {
	var got []byte
	buf := make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return false
		}
		got = append(got, buf[:n]...)
		head, body, ok := bytes.Cut(got, []byte("\r\n\r\n"))
		if !ok {
			continue
		}
		if len(body) >= contentLength(head) {
			return true
		}
	}
}

func newClient(t *testing.T, url string) *Client {
	t.Helper()
	c, err := New(Options{BaseURL: url, Connections: 1, Epoch: time.Now(), Timeout: time.Minute})
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// ask sends one request and decodes the answer, whose timestamps must be in order.
func ask(t *testing.T, c *Client, stream bool) (results.Request, *Exchange) {
	t.Helper()
	x := c.Do(t.Context(), Call{Route: "/v1/completions", Body: []byte(`{"prompt":"x"}`), Stream: stream})
	var r results.Request
	x.Decode(&r)
	last, bytes := r.Sent, 0
	if r.Headers != 0 {
		require.LessOrEqual(t, last, r.Headers, "sent before headers")
		last = r.Headers
	}
	for _, ch := range r.Chunks {
		require.LessOrEqual(t, last, ch.At, "chunks in order")
		require.LessOrEqual(t, ch.At, ch.Last())
		last = ch.Last()
		bytes += ch.Bytes
	}
	require.LessOrEqual(t, last, r.End, "the end is last")
	require.Equal(t, len(r.Text), bytes, "chunks add up to the text")
	if r.Error != "" {
		require.Contains(t, results.ErrorClasses, r.Error)
		require.NotEmpty(t, r.Detail)
	}
	return r, x
}

// recording is one recorded exchange; wire is the response as it was sent.
type recording struct {
	peer, name string
	stream     bool
	wire       []byte
}

func recordings(t *testing.T) []recording {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testdata.Shared(t, "peers"), "*", "*.http"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no recorded exchanges")
	var all []recording
	for _, file := range files {
		dir, base := filepath.Split(file)
		name := strings.TrimSuffix(base, ".http")
		if twin := filepath.Join(dir, "wire", base); exists(twin) {
			file = twin
		}
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		request, response, ok := bytes.Cut(data, []byte("======== RESPONSE ========"))
		require.True(t, ok, file)
		all = append(all, recording{
			peer: filepath.Base(filepath.Clean(dir)), name: name,
			stream: bytes.Contains(request, []byte(`"stream": true`)),
			wire:   trim(bytes.TrimLeft(response, "\r\n")),
		})
	}
	return all
}

// trim takes off the line end that the recorder put behind a body.
func trim(wire []byte) []byte {
	head, body, _ := bytes.Cut(wire, []byte("\r\n\r\n"))
	if n := contentLength(head); n >= 0 && n < len(body) {
		return wire[:len(wire)-len(body)+n]
	}
	return wire
}

// contentLength returns a header's Content-Length, -1 if it has none.
func contentLength(head []byte) int {
	n := -1
	for line := range strings.Lines(string(head)) {
		if k, v, _ := strings.Cut(line, ":"); strings.EqualFold(k, "Content-Length") {
			fmt.Sscan(v, &n)
		}
	}
	return n
}

func exists(path string) bool { _, err := os.Stat(path); return err == nil }

// replayAll has the client read every recording, by peer and name.
func replayAll(t *testing.T) map[string]results.Request {
	byName := map[string]results.Request{}
	for _, rec := range recordings(t) {
		t.Run(rec.peer+"/"+rec.name, func(t *testing.T) {
			url := rawServer(t, func(c net.Conn) { c.Write(rec.wire) })
			r, x := ask(t, newClient(t, url), rec.stream)
			byName[rec.peer+"/"+rec.name] = r
			if x.Status != http.StatusOK {
				require.NotEmpty(t, r.Error, "status %d is an error", x.Status)
				require.Zero(t, len(r.Chunks))
			}
			if r.Error == "" && r.OutputTokens > 0 {
				require.LessOrEqual(t, len(r.Chunks), r.OutputTokens, "no more chunks than tokens")
			}
		})
	}
	return byName
}

// TestReplay sends every recorded answer through the client and holds what is
// true of all of them.
func TestReplay(t *testing.T) {
	byName := replayAll(t)
	check := func(exchange string, class, finish string, prompt, output, chunks int, text string) {
		t.Helper()
		r, ok := byName[exchange]
		require.True(t, ok, "no recording %s", exchange)
		assert.Equal(t, class, r.Error, "%s: %s", exchange, r.Detail)
		assert.Equal(t, finish, r.Finish, exchange)
		assert.Equal(t, []int{prompt, output, chunks}, []int{r.PromptTokens, r.OutputTokens, len(r.Chunks)},
			"%s: prompt tokens, output tokens, chunks", exchange)
		if text != "-" {
			assert.Equal(t, text, r.Text, exchange)
		}
	}
	for _, peer := range []string{"vllm", "tgi", "transformers", "llamacpp"} {
		for _, api := range []string{"chat", "completions"} {
			// Greedy: the stream says what the one JSON says.
			sync, stream := byName[peer+"/"+api+"_sync"], byName[peer+"/"+api+"_stream"]
			for _, r := range []results.Request{sync, stream} {
				require.Empty(t, r.Error, "%s: %s", peer, r.Detail)
				assert.NotEmpty(t, r.Text)
			}
			assert.Equal(t, sync.Text, stream.Text, peer)
			assert.Equal(t, sync.Finish, stream.Finish, peer)
			assert.Equal(t, sync.PromptTokens, stream.PromptTokens, peer)
			assert.Equal(t, 12, sync.OutputTokens, peer)
			assert.Equal(t, 12, stream.OutputTokens, peer)
			assert.Len(t, sync.Chunks, 1, peer)
			assert.Len(t, stream.Chunks, 12, "%s: one token an event", peer)
		}
	}
	check("tgi/error_generation_stream", results.ClassStreamError, "", 0, 0, 1, " Paris")
	check("tgi/error_overloaded_stream", results.ClassStreamError, "", 0, 0, 0, "")
	check("transformers/max_tokens_zero_stream", results.ClassStreamError, "", 0, 0, 0, "")
	check("vllm/chat_stream_no_usage", "", "length", 0, 0, 12, "-")
	check("vllm/error_unknown_model_stream", results.ClassHTTP4xx, "", 0, 0, 0, "")
	check("transformers/error_unknown_model", results.ClassHTTP5xx, "", 0, 0, 0, "")
	check("transformers/max_tokens_over_context_chat_stream_cut_by_client", results.ClassStreamBroken, "", 0, 0, 24, "-")
	check("vllm/flag_force_include_usage_chat_utf8_stream", "", "length", 52, 24, 24, "-")
	check("llamacpp/completions_no_sampling_fields", "", "length", 5, 12, 12, "-")

	// A token that completes no character, or is special: an event without text
	// for vLLM and TGI, which has the role in each, and none for the others. So
	// chunks are not tokens, and usage is what counts.
	const parrot = "🦜🧬 Naïve 日本語.\n\n🦜🧬"
	check("vllm/flag_force_include_usage_chat_utf8_stream", "", "length", 52, 24, 24, parrot)
	check("tgi/chat_utf8_stream", "", "length", 52, 24, 23, parrot) // its first could be the role's announcement
	check("transformers/chat_utf8_stream", "", "length", 52, 24, 12, parrot)
	check("llamacpp/chat_utf8_stream", "", "length", 52, 24, 12, parrot)
	// The end of sequence, ignored: each in its own way, all to max_tokens.
	check("vllm/chat_ignore_eos_stream", "", "length", 35, 24, 24, "-")
	check("llamacpp/chat_ignore_eos_stream", "", "length", 35, 24, 24, "-")
	check("transformers/chat_generation_config_no_eos_stream", "", "length", 35, 24, 19, "-")
	check("tgi/no_eos_model_chat_stream", "", "length", 35, 24, 24, "-")
	check("tgi/no_eos_model_completions_stream", "", "length", 14, 24, 24, "-")
	// What cannot ignore it says so by ending, or refuses.
	check("tgi/chat_ignore_eos_stream", "", "stop", 35, 3, 2, "Hello!")
	check("transformers/chat_ignore_eos_stream", results.ClassHTTP4xx, "", 0, 0, 0, "")
	// TGI names ends in its own words, and writes the end of sequence out.
	check("tgi/completions_eos_stream", "", "eos_token", 14, 3, 3, "Hello!<|im_end|>")
	check("tgi/completions_stop_stream", "", "stop_sequence", 11, 5, 5, " 5, 6")
	// vLLM's ids of an event are its tokens; Transformers' streams have no [DONE].
	check("vllm/completions_return_token_ids_stream", "", "length", 5, 12, 12, "-")
	check("transformers/cb_completions_stream", "", "length", 5, 12, 12, "-")

	checkRunningUsage(t, byName)
}

// checkRunningUsage: with a usage on every event each counts one token.
func checkRunningUsage(t *testing.T, byName map[string]results.Request) {
	for exchange, r := range byName {
		if !strings.Contains(exchange, "continuous_usage") || r.Error != "" {
			continue
		}
		for i, c := range r.Chunks {
			if c.Tokens != 0 {
				assert.Equal(t, 1, c.Tokens, "%s: chunk %d", exchange, i)
			}
		}
	}
}

// TestReplaySplit sends the recorded streams a few bytes a write: what is read
// must not depend on where the network cuts.
func TestReplaySplit(t *testing.T) {
	for _, rec := range recordings(t) {
		if !rec.stream || !strings.HasPrefix(rec.name, "c") {
			continue
		}
		t.Run(rec.peer+"/"+rec.name, func(t *testing.T) {
			t.Parallel()
			whole, _ := ask(t, newClient(t, rawServer(t, func(c net.Conn) { c.Write(rec.wire) })), true)
			for _, size := range []int{1, 7, 100} {
				url := rawServer(t, func(c net.Conn) {
					for part := range chunksOf(rec.wire, size) {
						if _, err := c.Write(part); err != nil {
							return
						}
					}
				})
				got, _ := ask(t, newClient(t, url), true)
				assert.Equal(t, whole.Text, got.Text)
				assert.Equal(t, whole.Error, got.Error)
				assert.Equal(t, whole.Finish, got.Finish)
				assert.Equal(t, whole.OutputTokens, got.OutputTokens)
				require.Len(t, got.Chunks, len(whole.Chunks))
				for i := range got.Chunks {
					assert.Equal(t, whole.Chunks[i].Bytes, got.Chunks[i].Bytes)
					assert.Equal(t, whole.Chunks[i].Tokens, got.Chunks[i].Tokens)
				}
			}
		})
	}
}

func chunksOf(b []byte, n int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(b) > 0 {
			part := b[:min(n, len(b))]
			if !yield(part) {
				return
			}
			b = b[len(part):]
		}
	}
}
