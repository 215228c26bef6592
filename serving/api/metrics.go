// # Metrics
//
// GET /metrics, in Prometheus' text format. Families carry vLLM's names, types,
// labels and buckets where they mean the same, so that dashboards made for it
// work; testdata/vllm_metrics.txt lists all of vLLM's, and why some are not here.
//
//   - What the engine counts by itself (requests running and waiting, cache use,
//     tokens, preemptions) is read from one engine.Stats a scrape, which is a copy
//     made under a lock that is never held during a step.
//   - What happens to a request is observed in its handler's goroutine
//     (measure.go), off the engine's step: a read of engine.Timing and two atomic
//     additions a token, without garbage.
//   - process_* and go_* are the client library's.
//
// Each Server has a registry of its own.
package api

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"servebench/serving/engine"
)

// Label values and buckets, as vLLM has them.
const engineLabel = "0" // one engine a server

var (
	firstTokenBuckets = []float64{.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560}
	tokenBuckets      = []float64{.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80}
	requestBuckets    = []float64{.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680}
)

// lengthBuckets are 1, 2, 5, 10, 20, 50 … up to most.
func lengthBuckets(most int) []float64 {
	var b []float64
	for scale := 1; ; scale *= 10 {
		for _, m := range []int{1, 2, 5} {
			if m*scale > most {
				return b
			}
			b = append(b, float64(m*scale))
		}
	}
}

// Stater is an Engine that tells its figures, as engine.Engine does. Of one that
// does not, /metrics lacks what the engine counts, and /load is 0.
type Stater interface{ Stats() engine.Stats }

// CacheResetter is an Engine that can forget its prefix cache, as engine.Engine can.
type CacheResetter interface{ ResetPrefixCache() }

// load answers GET /load as vLLM does: how many sequences run or wait.
func (s *Server) load(w http.ResponseWriter, _ *http.Request) {
	var n int
	if e, ok := s.metrics.engine.(Stater); ok {
		st := e.Stats()
		n = st.Running + st.Waiting
	}
	s.writeJSON(w, http.StatusOK, marshal(struct {
		Load int `json:"server_load"`
	}{n}))
}

// resetPrefixCache answers POST /reset_prefix_cache as vLLM does, with an empty
// body: what the next prompts have in common with earlier ones is computed anew.
func (s *Server) resetPrefixCache(w http.ResponseWriter, _ *http.Request) {
	e, ok := s.metrics.engine.(CacheResetter)
	if !ok {
		s.writeError(w, badRequest("", "this server has no prefix cache to reset"))
		return
	}
	e.ResetPrefixCache()
	w.WriteHeader(http.StatusOK)
}

// metrics are the figures of one Server.
type metrics struct {
	engine  Engine
	handler http.Handler

	// Of every request that got a token.
	firstToken prometheus.Observer // seconds
	cached     prometheus.Counter  // prompt tokens, by where they came from
	computed   prometheus.Counter
	allCached  prometheus.Counter

	// Of every token behind the first.
	interToken prometheus.Observer // seconds

	// Of every request that ended with all its tokens.
	total, queue, inference, prefill, decode prometheus.Observer // seconds
	perToken                                 prometheus.Observer // seconds
	promptTokens, outputTokens, maxTokens    prometheus.Observer
	prefillTokens                            prometheus.Observer

	ended map[outcome]prometheus.Counter
}

// outcome is how a request ended, as the label finished_reason says it.
type outcome string

const (
	endedStop   outcome = "stop"   // a stop token or a stop string
	endedLength outcome = "length" // max_tokens
	endedAbort  outcome = "abort"  // the client went away, or the server shut down
	endedError  outcome = "error"  // the engine failed
)

// newMetrics registers every family. Those of the engine need a Stater.
func newMetrics(e Engine, model string, maxModelLen int) (*metrics, error) {
	reg := prometheus.NewRegistry()
	labels := prometheus.Labels{"engine": engineLabel, "model_name": model}
	r := registrar{reg: reg, labels: labels}
	lengths := lengthBuckets(maxModelLen)
	source := r.counters("vllm:prompt_tokens_by_source_total", "Prompt tokens of requests that got a token, by where their keys and values came from.", "source")
	ended := r.counters("vllm:request_success_total", "Requests that ended, by reason; failed ones too.", "finished_reason")
	m := &metrics{
		engine:        e,
		firstToken:    r.histogram("vllm:time_to_first_token_seconds", "From a request's arrival at the engine to its first token.", firstTokenBuckets),
		interToken:    r.histogram("vllm:inter_token_latency_seconds", "From one token of a request to the next.", tokenBuckets),
		perToken:      r.histogram("vllm:request_time_per_output_token_seconds", "Mean time of a request's tokens behind the first; requests of one token have none.", tokenBuckets),
		total:         r.histogram("vllm:e2e_request_latency_seconds", "From a request's arrival at the engine to its last token.", requestBuckets),
		queue:         r.histogram("vllm:request_queue_time_seconds", "From a request's arrival at the engine to its first step.", requestBuckets),
		inference:     r.histogram("vllm:request_inference_time_seconds", "From a request's first step to its last token.", requestBuckets),
		prefill:       r.histogram("vllm:request_prefill_time_seconds", "From a request's first step to its first token.", requestBuckets),
		decode:        r.histogram("vllm:request_decode_time_seconds", "From a request's first token to its last.", requestBuckets),
		promptTokens:  r.histogram("vllm:request_prompt_tokens", "Tokens of a request's prompt.", lengths),
		outputTokens:  r.histogram("vllm:request_generation_tokens", "Tokens generated for a request.", lengths),
		maxTokens:     r.histogram("vllm:request_params_max_tokens", "Tokens that a request allowed at most.", lengths),
		prefillTokens: r.histogram("vllm:request_prefill_kv_computed_tokens", "Tokens of a request's prompt that the prefix cache did not have.", lengths),
		allCached:     r.counter("vllm:prompt_tokens_cached_total", "Prompt tokens that the prefix cache had."),
		cached:        source.WithLabelValues("local_cache_hit"),
		computed:      source.WithLabelValues("local_compute"),
		ended:         map[outcome]prometheus.Counter{},
	}
	for _, o := range []outcome{endedStop, endedLength, endedAbort, endedError} {
		m.ended[o] = ended.WithLabelValues(string(o))
	}
	r.register(collectors.NewGoCollector())
	r.register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s, ok := e.(Stater); ok {
		r.register(newStatsCollector(s, labels))
	}
	m.handler = promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return m, r.err
}

// registrar registers families with the labels that all of vLLM's have, and
// keeps the first error.
type registrar struct {
	reg    *prometheus.Registry
	labels prometheus.Labels
	err    error
}

func (r *registrar) register(c prometheus.Collector) {
	if err := r.reg.Register(c); err != nil && r.err == nil {
		r.err = err
	}
}

func (r *registrar) histogram(name, help string, buckets []float64) prometheus.Observer {
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets, ConstLabels: r.labels})
	r.register(h)
	return h
}

func (r *registrar) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: r.labels})
	r.register(c)
	return c
}

func (r *registrar) counters(name, help, label string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: r.labels}, []string{label})
	r.register(c)
	return c
}

// statsCollector makes metrics of one engine.Stats a scrape.
type statsCollector struct {
	engine   Stater
	families []statsFamily
	cache    *prometheus.Desc // vllm:cache_config_info
}

type statsFamily struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(s *engine.Stats) float64
}

func newStatsCollector(s Stater, labels prometheus.Labels) *statsCollector {
	c := &statsCollector{engine: s, cache: prometheus.NewDesc("vllm:cache_config_info", "The KV cache: tokens of a block, and blocks, on whatever device.",
		[]string{"block_size", "num_gpu_blocks"}, prometheus.Labels{"engine": engineLabel})}
	add := func(kind prometheus.ValueType, name, help string, value func(s *engine.Stats) float64) {
		c.families = append(c.families, statsFamily{prometheus.NewDesc(name, help, nil, labels), kind, value})
	}
	gauge, counter := prometheus.GaugeValue, prometheus.CounterValue
	add(gauge, "vllm:num_requests_running", "Sequences that are being computed.",
		func(s *engine.Stats) float64 { return float64(s.Running) })
	add(gauge, "vllm:num_requests_waiting", "Sequences that wait to be computed, preempted ones among them.",
		func(s *engine.Stats) float64 { return float64(s.Waiting) })
	add(gauge, "vllm:kv_cache_usage_perc", "Share of the KV cache's blocks that sequences hold; 1 is all.",
		func(s *engine.Stats) float64 { return float64(s.KVBlocksUsed) / float64(max(s.KVBlocks, 1)) })
	add(counter, "vllm:prompt_tokens_total", "Prompt tokens of requests that got their first token.",
		func(s *engine.Stats) float64 { return float64(s.PromptTokens) })
	add(counter, "vllm:generation_tokens_total", "Tokens sampled.",
		func(s *engine.Stats) float64 { return float64(s.OutputTokens) })
	add(counter, "vllm:prefix_cache_queries_total", "Prompt tokens that were looked for in the prefix cache.",
		func(s *engine.Stats) float64 { return float64(s.PrefixQueries) })
	add(counter, "vllm:prefix_cache_hits_total", "Prompt tokens that were looked for in the prefix cache and found.",
		func(s *engine.Stats) float64 { return float64(s.PrefixHits) })
	add(counter, "vllm:num_preemptions_total", "Times a sequence lost its blocks and was computed again.",
		func(s *engine.Stats) float64 { return float64(s.Preemptions) })
	add(counter, "servebench_steps_total", "Forward passes of the model.",
		func(s *engine.Stats) float64 { return float64(s.Steps) })
	return c
}

// Describe is prometheus.Collector's.
func (c *statsCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range c.families {
		ch <- f.desc
	}
	ch <- c.cache
}

// Collect is prometheus.Collector's.
func (c *statsCollector) Collect(ch chan<- prometheus.Metric) {
	s := c.engine.Stats()
	for _, f := range c.families {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.value(&s))
	}
	ch <- prometheus.MustNewConstMetric(c.cache, prometheus.GaugeValue, 1, strconv.Itoa(s.KVBlockSize), strconv.Itoa(s.KVBlocks))
}
