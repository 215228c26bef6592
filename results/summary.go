package results

import (
	"cmp"
	"fmt"
	"time"
)

// Start names the moment that a request's latency and P2FT count from.
type Start string

// The values of Options.Start.
const (
	FromSent      Start = "sent"      // closed loop: when the request's bytes were handed to the connection
	FromScheduled Start = "scheduled" // open loop: when the load model wanted it sent
)

// Usage is what the server and the suite took from the machine during a
// case. 0 means "could not be had", of each field by itself, but in GPU.
type Usage struct {
	PeakRSS   int64         `json:"peak_rss_b,omitempty"` // of the server's process tree, shared pages counted in each process
	PeakPSS   int64         `json:"peak_pss_b,omitempty"` // the same with shared pages counted once
	ServerCPU time.Duration `json:"server_cpu_ns,omitempty"`
	SuiteCPU  time.Duration `json:"suite_cpu_ns,omitempty"`
	// ContainerMemory is the peak working set of the server's container, and
	// ContainerCPU what it used; they stand in for a process tree that cannot be seen.
	ContainerMemory int64         `json:"container_mem_b,omitempty"`
	ContainerCPU    time.Duration `json:"container_cpu_ns,omitempty"`

	// What the server told of itself, at most; nil: it does not tell, or the case was too short.
	RunningPeak *float64 `json:"running_peak,omitempty"`  // requests that it computed at once
	WaitingPeak *float64 `json:"waiting_peak,omitempty"`  // requests that waited in it
	KVCachePeak *float64 `json:"kv_cache_peak,omitempty"` // share of its KV cache in use

	GPU     *GPUUsage `json:"gpu,omitempty"`     // nil: no GPU was watched
	Samples int       `json:"samples,omitempty"` // how often the processes' memory was read
	Notes   []string  `json:"notes,omitempty"`   // why a figure is missing or incomplete
}

// Options say what of a case does not stand in its requests.
type Options struct {
	Start Start     `json:"start"`           // "" is FromSent
	Began time.Time `json:"began,omitzero"`  // wall clock, for people; no figure uses it
	Dummy bool      `json:"dummy,omitempty"` // the server's weights are seeded noise
	Usage Usage     `json:"usage"`
	SLO   SLO       `json:"slo,omitzero"`    // that goodput counts by
	Notes []string  `json:"notes,omitempty"` // what could not be done, say a cache that was not reset
	// Contract says whether the pass may stand beside those of other frameworks.
	Contract Contract `json:"contract,omitzero"`
	// Cache says in a word what the server's prefix cache could know of the
	// prompts; package contract has the words.
	Cache string `json:"cache,omitempty"`
}

// Summary is one pass over a case: counts, and the figures that could be had.
type Summary struct {
	Case   Case
	Repeat int
	Options

	Requests int
	Failed   int            // not part of any figure
	Errors   map[string]int // failed requests by class
	First    string         // the first failed request's class and detail, for messages

	// Completed requests only.
	PromptTokens int     // 0 if a request's are not known
	OutputTokens int     // 0 if a request's are not known
	OutputMin    int     // shortest output
	OutputMax    int     // longest output
	AtMaxTokens  int     // outputs that are max_tokens long
	OutputMedian float64 // 0 if a request's tokens are not known

	UsageMissing   int // output tokens not in the server's usage; the recount stands in
	UsageMismatch  int // usage and recount both known and different
	ChunkMismatch  int // tokens said chunk by chunk do not add up to the usage
	PromptMismatch int // prompt tokens in usage differ from the prepared file's

	Wall time.Duration // first send to last token of the completed requests

	lengths []float64          // of the outputs, in tokens; nil if one's is not known
	figures map[string]float64 // by Metric.Column, in its SI unit; absent: could not be had
}

// Summarize computes the figures of one pass over one case. All requests
// must be of the same case and repeat (Passes parts a file into such groups);
// mixing them is a bug of the caller and panics.
func Summarize(reqs []Request, o Options) Summary {
	if o.Start == "" {
		o.Start = FromSent
	}
	s := Summary{Options: o, Requests: len(reqs), figures: make(map[string]float64)}
	if len(reqs) == 0 {
		return s
	}
	s.Case, s.Repeat = reqs[0].Case, reqs[0].Repeat
	done := make([]*Request, 0, len(reqs))
	for i := range reqs {
		r := &reqs[i]
		if r.Case != s.Case || r.Repeat != s.Repeat {
			panic("results: Summarize of requests of two passes: " + s.Case.String() + " and " + r.Case.String())
		}
		if r.Error == "" && len(r.Chunks) > 0 {
			done = append(done, r)
		} else {
			s.fail(r)
		}
	}
	s.tokens(done)
	s.dispatch(reqs)
	s.resources()
	if len(done) == 0 {
		return s
	}
	s.latencies(done)
	s.gaps(done)
	s.throughput(done)
	s.goodput(done)
	return s
}

// Figure returns a figure by its CSV column, in SI base units, and whether it could be had.
func (s *Summary) Figure(column string) (float64, bool) {
	v, ok := s.figures[column]
	return v, ok
}

// Lengths returns the numbers of tokens of the completed requests' outputs, nil
// if one of them is not known.
func (s *Summary) Lengths() []float64 { return s.lengths }

// Values returns the figures for b.ReportMetric, in Metrics' order and
// benchfmt's units: those that could be had, are not exactly 0 and are of one
// of the kinds (none given: all), and the number of failed requests. A pass in
// which no request completed has none: its benchmark has to fail.
func (s *Summary) Values(kinds ...Kind) []Value {
	if s.Failed == s.Requests {
		return nil
	}
	var vs []Value
	for _, m := range Metrics {
		v := s.figures[m.Column] * m.Scale
		if m.Unit != "" && v != 0 && m.isOf(kinds) {
			vs = append(vs, Value{m.Unit, v})
		}
	}
	if s.Failed > 0 {
		vs = append(vs, Value{FailedUnit, float64(s.Failed)})
	}
	return vs
}

// fail counts a request that did not complete. One with neither an error nor
// a chunk counts as an answer without tokens.
func (s *Summary) fail(r *Request) {
	class := r.Error
	if class == "" {
		class = ClassNoTokens
	}
	if s.Errors == nil {
		s.Errors = make(map[string]int)
		s.First = class
		if r.Detail != "" {
			s.First += ": " + r.Detail
		}
	}
	s.Failed++
	s.Errors[class]++
}

// dispatch measures the suite itself: how late requests went out. Failed
// requests count too, since the server has no part in it.
func (s *Summary) dispatch(reqs []Request) {
	var lag sample
	for i := range reqs {
		if r := &reqs[i]; r.Sent > 0 {
			lag.addTime(r.Sent - r.Scheduled)
		}
	}
	s.quantiles("dispatch", &lag, 50, 99)
	if v, ok := lag.quantile(1); ok {
		s.figures["dispatch_max_s"] = v / nano
	}
}

// resources copies what telemetry had. What a token took is told only where no
// request failed: the work on failed ones cannot be taken out of it.
func (s *Summary) resources() {
	u := &s.Usage
	put := func(column string, v float64) {
		if v > 0 {
			s.figures[column] = v
		}
	}
	serverCPU := cmp.Or(u.ServerCPU, u.ContainerCPU).Seconds()
	put("host_mem_b", float64(cmp.Or(u.PeakRSS, u.ContainerMemory)))
	put("host_mem_pss_b", float64(u.PeakPSS))
	put("container_mem_b", float64(u.ContainerMemory))
	put("server_cpu_s", serverCPU)
	put("suite_cpu_s", u.SuiteCPU.Seconds())
	for column, v := range map[string]*float64{
		"running_peak": u.RunningPeak, "waiting_peak": u.WaitingPeak, "kv_cache_peak": u.KVCachePeak,
	} {
		if v != nil {
			s.figures[column] = *v
		}
	}
	perToken := s.OutputTokens > 0 && s.Failed == 0
	if perToken {
		put("server_cpu_s_per_ktok", 1e3*serverCPU/float64(s.OutputTokens))
		put("suite_cpu_s_per_ktok", 1e3*u.SuiteCPU.Seconds()/float64(s.OutputTokens))
	}
	if u.GPU == nil {
		return
	}
	for column, v := range u.GPU.figures() {
		s.figures[column] = v
	}
	if u.GPU.Energy != nil && perToken {
		s.figures["gpu_energy_j_per_tok"] = *u.GPU.Energy / float64(s.OutputTokens)
	}
}

// latencies fills latency and P2FT, from the case's start and from the scheduled time.
func (s *Summary) latencies(done []*Request) {
	var latency, p2ft, schedLatency, schedP2FT sample
	for _, r := range done {
		start, end := r.start(s.Start), r.lastToken()
		latency.addTime(end - start)
		schedLatency.addTime(end - r.Scheduled)
		if at, ok := r.firstText(); ok && s.Case.Mode == ModeStream {
			p2ft.addTime(at - start)
			schedP2FT.addTime(at - r.Scheduled)
		}
	}
	s.figures["latency_mean_s"] = latency.mean() / nano
	s.quantiles("latency", &latency, 50, 90, 99)
	s.quantiles("p2ft", &p2ft, 50, 99)
	s.figures["scheduled_latency_mean_s"] = schedLatency.mean() / nano
	s.quantiles("scheduled_latency", &schedLatency, 50, 90, 99)
	s.quantiles("scheduled_p2ft", &schedP2FT, 50, 99)
}

// gaps fills TPOT and ITL, which only a stream of two chunks or more can tell.
func (s *Summary) gaps(done []*Request) {
	if s.Case.Mode != ModeStream {
		return
	}
	var tpot, itl sample
	for _, r := range done {
		for i := 1; i < len(r.Chunks); i++ {
			itl.addTime(r.Chunks[i].At - r.Chunks[i-1].At)
		}
		if n, _ := r.outputTokens(); n > 1 && len(r.Chunks) > 1 {
			tpot.add(float64(r.generation()) / float64(n-1))
		}
	}
	s.quantiles("tpot", &tpot, 50, 99)
	s.quantiles("itl", &itl, 50, 99)
}

// throughput fills the wall time, what is divided by it, and the speed of one stream.
func (s *Summary) throughput(done []*Request) {
	var speed sample
	first, last := done[0].Sent, done[0].lastToken()
	for _, r := range done {
		first, last = min(first, r.Sent), max(last, r.lastToken())
		span := r.generation()
		if s.Case.Mode != ModeStream {
			span = r.lastToken() - r.start(s.Start)
		}
		if n, _ := r.outputTokens(); n > 0 && span > 0 {
			speed.add(float64(n) / span.Seconds())
		}
	}
	// The median: a stream whose chunks were held back on the way and came at
	// once has a speed of millions, which a mean would be made of.
	if v, ok := speed.quantile(0.5); ok {
		s.figures["gen_tok_per_s"] = v
	}
	s.Wall = last - first
	if s.Wall <= 0 {
		return
	}
	wall := s.Wall.Seconds()
	s.figures["req_per_s"] = float64(len(done)) / wall
	if s.OutputTokens > 0 {
		s.figures["out_tok_per_s"] = float64(s.OutputTokens) / wall
	}
	if s.OutputTokens > 0 && s.PromptTokens > 0 {
		s.figures["total_tok_per_s"] = float64(s.OutputTokens+s.PromptTokens) / wall
	}
}

// quantiles puts percentiles of a sample of nanoseconds in name's columns.
func (s *Summary) quantiles(name string, x *sample, percents ...int) {
	for _, p := range percents {
		if v, ok := x.quantile(float64(p) / 100); ok {
			s.figures[fmt.Sprintf("%s_p%d_s", name, p)] = v / nano
		}
	}
}

// start is the moment that the request's latency counts from.
func (r *Request) start(from Start) time.Duration {
	if from == FromScheduled {
		return r.Scheduled
	}
	return r.Sent
}

// lastToken is when the last token-bearing chunk had arrived wholly. What
// follows it (usage, [DONE], the end of the body) is not the user's wait.
func (r *Request) lastToken() time.Duration { return r.Chunks[len(r.Chunks)-1].Last() }

// generation is the time from the first to the last token. Both ends are
// arrivals of a chunk's first byte, so that the difference has no bias.
func (r *Request) generation() time.Duration {
	return r.Chunks[len(r.Chunks)-1].At - r.Chunks[0].At
}

// firstText is the arrival of the first chunk with text.
func (r *Request) firstText() (time.Duration, bool) {
	for _, c := range r.Chunks {
		if c.Bytes > 0 {
			return c.At, true
		}
	}
	return 0, false
}
