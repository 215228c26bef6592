package results

import "time"

// Start names the moment that a request's latency and P2FT count from.
type Start string

// The values of Options.Start.
const (
	FromSent      Start = "sent"      // closed loop: when the request's bytes were handed to the connection
	FromScheduled Start = "scheduled" // open loop: when the load model wanted it sent
)

// Usage is what the server and the suite took from the machine during a
// case. 0 means "could not be had", of each field by itself.
type Usage struct {
	PeakRSS   int64         `json:"peak_rss_b,omitempty"` // of the server's process tree, shared pages counted in each process
	PeakPSS   int64         `json:"peak_pss_b,omitempty"` // the same with shared pages counted once
	ServerCPU time.Duration `json:"server_cpu_ns,omitempty"`
	SuiteCPU  time.Duration `json:"suite_cpu_ns,omitempty"`
	Samples   int           `json:"samples,omitempty"` // how often memory was read
	Notes     []string      `json:"notes,omitempty"`   // why a figure is missing or incomplete
}

// Options say what of a case does not stand in its requests.
type Options struct {
	Start Start     `json:"start"`           // "" is FromSent
	Began time.Time `json:"began,omitzero"`  // wall clock, for people; no figure uses it
	Dummy bool      `json:"dummy,omitempty"` // the server's weights are seeded noise
	Usage Usage     `json:"usage"`
	Notes []string  `json:"notes,omitempty"` // what could not be done, say a cache that was not reset
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
	PromptTokens int // 0 if a request's are not known
	OutputTokens int // 0 if a request's are not known
	OutputMin    int // shortest output
	OutputMax    int // longest output

	UsageMissing   int // output tokens not in the server's usage; the recount stands in
	UsageMismatch  int // usage and recount both known and different
	ChunkMismatch  int // tokens said chunk by chunk do not add up to the usage
	PromptMismatch int // prompt tokens in usage differ from the prepared file's

	Wall time.Duration // first send to last token of the completed requests

	figures map[string]float64 // by Metric.Column, in its SI unit; absent: could not be had
}

// Summarize computes the figures of one pass over one case. All requests
// must be of the same case and repeat (Group parts a file into such passes);
// mixing them is a bug of the caller and panics.
func Summarize(reqs []Request, o Options) Summary { return Summary{} }

// Figure returns a figure by its CSV column, in SI base units, and whether it could be had.
func (s *Summary) Figure(column string) (float64, bool) {
	v, ok := s.figures[column]
	return v, ok
}

// Values returns the figures for b.ReportMetric, in Metrics' order and
// benchfmt's units: those that could be had, are not exactly 0 and are of one
// of the kinds (none given: all). A case in which every request failed has none.
func (s *Summary) Values(kinds ...Kind) []Value { return nil }
