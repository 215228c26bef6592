package target

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/testdata"
)

// recorded is a request that a peer was sent, and the status that it answered.
type recorded struct {
	name   string
	route  string
	fields map[string]any
	status int
}

// recordedOf reads the exchanges recorded with a peer whose request is JSON.
func recordedOf(t *testing.T, peer string) []recorded {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(testdata.Shared(t, "peers"), peer, "*.http"))
	require.NoError(t, err)
	var all []recorded
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		request, response, ok := bytes.Cut(data, []byte("======== RESPONSE ========"))
		require.True(t, ok, file)
		head, body, _ := bytes.Cut(request, []byte("\r\n\r\n"))
		r := recorded{name: filepath.Base(file)}
		var method string
		_, err = fmt.Sscan(string(head), &method, &r.route)
		require.NoError(t, err, file)
		_, err = fmt.Sscanf(string(bytes.TrimSpace(response)), "HTTP/1.1 %d", &r.status)
		require.NoError(t, err, file)
		if json.Unmarshal(body, &r.fields) == nil {
			all = append(all, r)
		}
	}
	require.NotEmpty(t, all, "no recordings of %s", peer)
	return all
}

// TestRecorded holds against the recordings that each peer takes what it is
// sent: every field was in a request to the same route that was answered with
// 200, with a value of the same type.
func TestRecorded(t *testing.T) {
	// What a peer is known to pass over, whatever it is called.
	passedOver := map[string][]string{"llamacpp": {"min_p", "top_k", "repeat_penalty", "cache_prompt"}}
	for _, target := range []*Target{&vllm, &tgi, &transformers, &llamacpp} {
		recs := recordedOf(t, target.Name)
		for _, api := range datasets.APIs() {
			taken := map[string]bool{}
			for _, r := range recs {
				if r.status != 200 || r.route != target.Route(api) {
					continue
				}
				for name, v := range r.fields {
					taken[fmt.Sprintf("%s %T", name, v)] = true
				}
			}
			for _, mode := range datasets.Modes() {
				for _, sampling := range []datasets.Sampling{{TopP: 1, MaxTokens: 8}, {Temperature: .5, TopP: .9, MaxTokens: 8}} {
					text, err := target.Body(Request{Prompt: datasets.Prompt{Text: "x", Sampling: sampling}, API: api, Mode: mode, Served: "m", IgnoreEOS: true})
					require.NoError(t, err)
					var fields map[string]any
					require.NoError(t, json.Unmarshal(text, &fields))
					for name, v := range fields {
						known := taken[fmt.Sprintf("%s %T", name, v)]
						for _, extra := range passedOver[target.Name] {
							known = known || name == extra
						}
						assert.True(t, known, "%s %s: no recording shows that %s as in %s is taken", target.Name, api, name, text)
					}
				}
			}
		}
	}
}

// TestRecordedRefusals holds the reasons for what peers are not sent.
func TestRecordedRefusals(t *testing.T) {
	status := func(peer, name string) int {
		t.Helper()
		for _, r := range recordedOf(t, peer) {
			if r.name == name+".http" {
				return r.status
			}
		}
		t.Fatalf("no recording %s of %s", name, peer)
		return 0
	}
	assert.Equal(t, 422, status("transformers", "completions_ignore_eos"))
	assert.Equal(t, 422, status("transformers", "chat_ignore_eos_stream"))
	assert.Equal(t, 422, status("tgi", "sampling_top_p_one"))
	assert.Equal(t, 200, status("tgi", "completions_ignore_eos"), "passed over: the answer ends where it would")
	assert.Equal(t, 400, status("transformers", "completions_token_ids"))
	assert.Equal(t, 422, status("tgi", "completions_token_ids"))
	assert.False(t, tgi.TokenPrompts || transformers.TokenPrompts, "so every framework gets text")
}
