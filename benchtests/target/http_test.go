package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fake is a server that answers by method and route, and keeps what it is asked.
type fake struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]string // "GET /version" → body, or "404 body" with another status
	asked   []string          // "GET /version {body}"
}

func newFake(t *testing.T, answers map[string]string) *fake {
	t.Helper()
	f := &fake{answers: answers}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	key := r.Method + " " + r.URL.RequestURI()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked = append(f.asked, strings.TrimSpace(key+" "+string(body)))
	answer, ok := f.answers[key]
	if !ok {
		http.NotFound(w, r)
		return
	}
	var code int
	if n, _ := fmt.Sscanf(answer, "%3d ", &code); n == 1 && code >= 200 {
		w.WriteHeader(code)
		answer = answer[4:]
	}
	io.WriteString(w, answer)
}

func (f *fake) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	asked := f.asked
	f.asked = nil
	return asked
}

func TestVersionAt(t *testing.T) {
	f := newFake(t, map[string]string{
		"GET /version":     `{"version":"0.32.0"}`,
		"GET /api/version": `{"version":"0.32.15"}`,
		"GET /server_info": `{"model_path":"/m","tp_size":1,"internal_states":[{}],"version":"0.5.19"}`,
		"GET /info":        `{"version":"3.3.7","sha":"db931fc"}`,
		"GET /props":       `{"build_info":"b11151-abc"}`,
	})
	for target, want := range map[*Target]string{&custom: "0.32.0", &vllm: "0.32.0", &ollama: "0.32.15", &sglang: "0.5.19", &tgi: "3.3.7", &llamacpp: "b11151-abc"} {
		got, err := target.VersionAt(t.Context(), nil, f.URL+"/")
		require.NoError(t, err, target.Name)
		assert.Equal(t, want, got)
	}
	for _, target := range []*Target{&transformers, &openai} {
		_, err := target.VersionAt(t.Context(), nil, f.URL)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
		assert.ErrorContains(t, err, target.Name)
	}
	refused := func(answer, want string) {
		t.Helper()
		f := newFake(t, map[string]string{"GET /version": answer})
		_, err := vllm.VersionAt(t.Context(), nil, f.URL)
		assert.ErrorContains(t, err, want)
	}
	refused(`{"version":7}`, `no text "version"`)
	refused(`{}`, `no text "version"`)
	refused(`{"version":""}`, "is no version")
	refused(`{"version":"a\nb"}`, "is no version")
	refused(`<html>`, "invalid character")
	refused(`503 {"error":"loading"}`, "status 503")
	refused("{"+strings.Repeat(" ", maxAnswer), "more than 16777216 bytes")
	f.Close()
	_, err := vllm.VersionAt(t.Context(), nil, f.URL)
	assert.ErrorContains(t, err, "ask vllm for its version")
}

// TestClient holds that questions go through the client that is given, which has
// the key, below the base's path, and end with the context.
func TestClient(t *testing.T) {
	f := newFake(t, map[string]string{"GET /proxy/version": `{"version":"1"}`})
	used := 0
	keyed := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
		used++
		return http.DefaultTransport.RoundTrip(r)
	})}
	version, err := vllm.VersionAt(t.Context(), keyed, f.URL+"/proxy")
	require.NoError(t, err)
	assert.Equal(t, "1", version)
	assert.Equal(t, 1, used)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = vllm.VersionAt(ctx, nil, f.URL)
	assert.ErrorIs(t, err, context.Canceled)
	_, err = vllm.VersionAt(t.Context(), nil, "http://127.0.0.1:0x/")
	assert.ErrorContains(t, err, "the server's URL")
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestScrape(t *testing.T) {
	const vllmText = `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="m"} 3
vllm:num_requests_running{engine="1",model_name="m"} 4
vllm:num_requests_waiting{engine="0"} 0
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:kv_cache_usage_perc{engine="1"} 0.75
`
	check := func(target Target, text string, want Metrics) {
		t.Helper()
		f := newFake(t, map[string]string{"GET /metrics": text})
		got, err := target.Scrape(t.Context(), nil, f.URL)
		require.NoError(t, err)
		assert.Equal(t, want, got)
	}
	v := func(x float64) *float64 { return &x }
	check(vllm, vllmText, Metrics{v(7), v(0), v(.75)})
	check(custom, vllmText, Metrics{v(7), v(0), v(.75)})
	check(vllm, "vllm:gpu_cache_usage_perc 0.5\n", Metrics{KVCache: v(.5)})
	check(vllm, "vllm:num_requests_running NaN\nvllm:num_requests_waiting 1\nvllm:kv_cache_usage_perc -1\n", Metrics{Waiting: v(1)})
	check(sglang, "sglang:num_running_reqs{tp_rank=\"0\"} 2\nsglang:num_queue_reqs 1\nsglang:token_usage 0.1\n", Metrics{v(2), v(1), v(.1)})
	check(tgi, "# TYPE tgi_queue_size gauge\ntgi_queue_size 2\n\n# TYPE tgi_batch_current_size gauge\ntgi_batch_current_size 1\n", Metrics{Running: v(1), Waiting: v(2)})
	check(llamacpp, "# TYPE llamacpp:requests_processing gauge\nllamacpp:requests_processing 2\nllamacpp:requests_deferred 0\n", Metrics{Running: v(2), Waiting: v(0)})

	unsupported := func(target Target, answers map[string]string) {
		t.Helper()
		_, err := target.Scrape(t.Context(), nil, newFake(t, answers).URL)
		assert.ErrorIs(t, err, errors.ErrUnsupported)
	}
	for _, target := range []Target{transformers, ollama, openai} {
		unsupported(target, nil)
	}
	unsupported(sglang, nil) // started without --enable-metrics
	unsupported(llamacpp, map[string]string{"GET /metrics": `501 {"error":{"message":"Start it with --metrics"}}`})

	refused := func(text, want string) {
		t.Helper()
		_, err := vllm.Gauges.Parse([]byte(text))
		assert.ErrorContains(t, err, want)
	}
	refused("", "none of")
	refused("other 1\n", "none of")
	refused("vllm:num_requests_running x\n", "expected float")
	_, err := vllm.Scrape(t.Context(), nil, newFake(t, map[string]string{"GET /metrics": "500 oops"}).URL)
	assert.NotErrorIs(t, err, errors.ErrUnsupported)
	assert.ErrorContains(t, err, "status 500")
}

func TestReset(t *testing.T) {
	check := func(target Target, answers map[string]string, want ...string) {
		t.Helper()
		f := newFake(t, answers)
		require.NoError(t, target.Reset(t.Context(), nil, f.URL, "m"))
		assert.Equal(t, want, f.requests())
	}
	vllmAnswer := func(s string) map[string]string { return map[string]string{"POST /reset_prefix_cache": s} }
	check(custom, vllmAnswer(""), "POST /reset_prefix_cache")
	check(vllm, vllmAnswer(`{"success":true}`), "POST /reset_prefix_cache")
	check(sglang, map[string]string{"POST /flush_cache": "Cache flushed.\nPlease check backend logs for more details."}, "POST /flush_cache")
	check(llamacpp, map[string]string{
		"GET /slots": `[{"id":0,"n_ctx":512},{"id":1}]`, "POST /slots/0?action=erase": `{"id_slot":0,"n_erased":9}`,
		"POST /slots/1?action=erase": `{"id_slot":1,"n_erased":0}`,
	}, "GET /slots", "POST /slots/0?action=erase", "POST /slots/1?action=erase")

	refused := func(target Target, answers map[string]string, is error, want string) {
		t.Helper()
		err := target.Reset(t.Context(), nil, newFake(t, answers).URL, "m")
		require.ErrorContains(t, err, want)
		assert.Equal(t, is != nil, errors.Is(err, errors.ErrUnsupported), "%v", err)
	}
	for _, target := range []Target{tgi, transformers, ollama, openai} {
		refused(target, nil, errors.ErrUnsupported, target.Name)
	}
	refused(vllm, nil, errors.ErrUnsupported, "status 404") // not in developers' mode
	refused(vllm, vllmAnswer(`{"success":false}`), nil, "while requests run")
	refused(sglang, map[string]string{"POST /flush_cache": "400 Flush cache failed."}, nil, "status 400")
	slots := map[string]string{"GET /slots": `[{"id":0}]`, "POST /slots/0?action=erase": `501 {"error":{"message":"Start it with --slot-save-path"}}`}
	refused(llamacpp, slots, errors.ErrUnsupported, "--slot-save-path")
	refused(llamacpp, map[string]string{"GET /slots": `[]`}, nil, "a list of 0")
	refused(llamacpp, map[string]string{"GET /slots": `[{}]`}, nil, "without an id")
	refused(llamacpp, map[string]string{"GET /slots": `{`}, nil, "unexpected end")
}

func TestTokenizeText(t *testing.T) {
	check := func(target Target, answer, want string) {
		t.Helper()
		f := newFake(t, map[string]string{"POST /tokenize": answer})
		ids, err := target.TokenizeText(t.Context(), nil, f.URL, "m", `a "b"`)
		require.NoError(t, err)
		assert.Equal(t, []int{1, 2}, ids)
		assert.Equal(t, []string{"POST /tokenize " + want}, f.requests())
	}
	const ids = `{"count":2,"tokens":[1,2],"token_strs":null}`
	for _, target := range []Target{custom, vllm, sglang} {
		check(target, ids, `{"add_special_tokens":true,"model":"m","prompt":"a \"b\""}`)
	}
	check(llamacpp, ids, `{"add_special":true,"content":"a \"b\""}`)
	check(tgi, `[{"id":1,"text":"a"},{"id":2,"text":"b"}]`, `{"inputs":"a \"b\""}`)
	for _, target := range []Target{transformers, ollama, openai} {
		_, err := target.TokenizeText(t.Context(), nil, "http://127.0.0.1:1", "m", "x")
		assert.ErrorIs(t, err, errors.ErrUnsupported)
	}
	refused := func(target Target, answer, want string) {
		t.Helper()
		_, err := target.TokenizeText(t.Context(), nil, newFake(t, map[string]string{"POST /tokenize": answer}).URL, "m", "x")
		assert.ErrorContains(t, err, want)
	}
	refused(vllm, `{"count":2}`, `no "tokens"`)
	refused(vllm, `{"tokens":[-1]}`, "-1 is no token id")
	refused(vllm, `[1]`, "cannot unmarshal")
	refused(vllm, `404 {"detail":"Not Found"}`, "status 404")
	refused(tgi, `[{"text":"a"}]`, "a token without an id")
	refused(tgi, `{}`, "cannot unmarshal")
}

// FuzzAnswers has what servers that somebody else runs may answer: every parser
// gives what it promises or an error.
func FuzzAnswers(f *testing.F) {
	for _, seed := range []string{`{"version":"1"}`, `{"tokens":[1,2]}`, `[{"id":1}]`, `{"data":[{"id":"m"}]}`, `{"success":false}`,
		"# TYPE a gauge\nvllm:num_requests_running{a=\"b\"} 1e3\n", "null", "ollama version is 0.32.15", "Warning: client version is 1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if v, err := parseVersion(text, "version"); err == nil {
			require.NotEmpty(t, v)
			require.NotContains(t, v, "\n")
			require.LessOrEqual(t, len(v), maxVersion)
		}
		for _, parse := range []func([]byte) ([]int, error){parseTokens, parseTokenObjects, parseIDs} {
			ids, err := parse(text)
			for _, id := range ids {
				require.NoError(t, err)
				require.GreaterOrEqual(t, id, 0)
			}
		}
		if names, err := parseModels(text); err == nil {
			require.NotContains(t, names, "")
		}
		if m, err := vllm.Gauges.Parse(text); err == nil {
			require.NotEqual(t, Metrics{}, m)
			for _, v := range []*float64{m.Running, m.Waiting, m.KVCache} {
				require.True(t, v == nil || *v >= 0)
			}
			_, err := json.Marshal(m)
			require.NoError(t, err, "no NaN")
		}
		if v, err := ollamaVersion(string(text)); err == nil {
			require.Regexp(t, `^ollama \S+$`, v)
		}
		failed(text)
	})
}
