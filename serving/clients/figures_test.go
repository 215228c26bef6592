package clients

import (
	"io"
	"net/http"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// request sends one with a JSON body, or a GET without, and returns the answer's.
func request(t *testing.T, url, body string) string {
	t.Helper()
	var r *http.Response
	var err error
	if body == "" {
		r, err = http.Get(url)
	} else {
		r, err = http.Post(url, "application/json", strings.NewReader(body))
	}
	require.NoError(t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	require.Equalf(t, http.StatusOK, r.StatusCode, "%s: %s", url, b)
	return string(b)
}

// scrape returns the sum of a family's counters, gauges and histograms' sums,
// and the number of values that its histograms hold.
func scrape(t *testing.T, url string) func(name string) (sum float64, count uint64) {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(request(t, url+"/metrics", "")))
	require.NoError(t, err)
	return func(name string) (sum float64, count uint64) {
		require.Contains(t, families, name)
		for _, m := range families[name].GetMetric() {
			h := m.GetHistogram()
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + h.GetSampleSum()
			count += h.GetSampleCount()
		}
		if families[name].GetType() == dto.MetricType_HISTOGRAM {
			assert.Positivef(t, count, "%s has no value", name)
		}
		return sum, count
	}
}

// figures asks a server what it measured of a few requests, whose parts must
// add up, and what its tokenizer and its prefix cache do.
func figures(t *testing.T, url string) {
	const body = `{"prompt": "` + prompt + prompt + prompt + prompt + prompt + prompt + prompt + prompt + `", "max_tokens": 9, "ignore_eos": true}`
	request(t, url+"/reset_prefix_cache", "{}")
	before := scrape(t, url)
	request(t, url+"/v1/completions", body)
	request(t, url+"/v1/completions", body)
	after := scrape(t, url)
	grown := func(name string) (float64, uint64) {
		s0, n0 := before(name)
		s1, n1 := after(name)
		return s1 - s0, n1 - n0
	}
	for name, want := range map[string]uint64{"vllm:time_to_first_token_seconds": 2, "vllm:inter_token_latency_seconds": 16,
		"vllm:e2e_request_latency_seconds": 2, "vllm:request_queue_time_seconds": 2, "vllm:request_inference_time_seconds": 2} {
		sum, n := grown(name)
		assert.Equal(t, want, n, name)
		assert.Positive(t, sum, name)
	}
	seconds := func(name string) float64 { s, _ := grown("vllm:" + name + "_seconds"); return s }
	assert.InDelta(t, seconds("request_decode_time"), seconds("inter_token_latency"), 1e-6)
	assert.InDelta(t, seconds("request_inference_time"), seconds("request_prefill_time")+seconds("request_decode_time"), 1e-6)
	assert.InDelta(t, seconds("e2e_request_latency"), seconds("request_queue_time")+seconds("request_inference_time"), 1e-6)
	assert.InDelta(t, seconds("time_to_first_token"), seconds("request_queue_time")+seconds("request_prefill_time"), 1e-6)
	output, _ := grown("vllm:generation_tokens_total")
	assert.InDelta(t, 18, output, 0)
	prompts, _ := grown("vllm:prompt_tokens_total")
	sources, _ := grown("vllm:prompt_tokens_by_source_total")
	assert.InDelta(t, prompts, sources, 0)
	hits, _ := grown("vllm:prefix_cache_hits_total")
	cached, _ := grown("vllm:prompt_tokens_cached_total")
	assert.InDelta(t, hits, cached, 0)
	t.Logf("of two equal prompts with %v tokens together %v were cached", prompts, cached)

	const text = `{"prompt":"naïve 👍\n"}`
	ids := request(t, url+"/tokenize", text)
	_, ids, _ = strings.Cut(ids, `"tokens":`)
	ids, _, _ = strings.Cut(ids, "]")
	assert.JSONEq(t, text, request(t, url+"/detokenize", `{"tokens": `+ids+`]}`))
	assert.JSONEq(t, `{"server_load": 0}`, request(t, url+"/load", ""))
}
