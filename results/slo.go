package results

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"
)

// SLO is what a request has to keep to count in goodput: no more than each time
// that is given. 0 gives none.
type SLO struct {
	P2FT    time.Duration `json:"p2ft_ns,omitempty"`    // prompt to first token; streams only
	TPOT    time.Duration `json:"tpot_ns,omitempty"`    // time per output token after the first; streams only
	Latency time.Duration `json:"latency_ns,omitempty"` // of the whole answer
}

// ParseSLO reads a list like "p2ft=200ms,tpot=50ms,latency=5s", of which any
// part may be left out; "" is none.
func ParseSLO(text string) (SLO, error) {
	var s SLO
	if text == "" {
		return s, nil
	}
	limits := map[string]*time.Duration{"p2ft": &s.P2FT, "tpot": &s.TPOT, "latency": &s.Latency}
	for item := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(item), "=")
		limit, ok := limits[name]
		if !ok {
			return SLO{}, fmt.Errorf("%q: want p2ft=TIME, tpot=TIME or latency=TIME, with commas, as in p2ft=200ms,tpot=50ms", item)
		}
		if *limit != 0 {
			return SLO{}, fmt.Errorf("%s is there twice", name)
		}
		d, err := time.ParseDuration(value)
		if err == nil && d <= 0 {
			err = errors.New("it must be more than 0")
		}
		if err != nil {
			return SLO{}, fmt.Errorf("%s: %w", item, err)
		}
		*limit = d
	}
	return s, nil
}

// String returns what ParseSLO reads.
func (o SLO) String() string {
	var parts []string
	for _, l := range []struct {
		name  string
		limit time.Duration
	}{{"p2ft", o.P2FT}, {"tpot", o.TPOT}, {"latency", o.Latency}} {
		if l.limit > 0 {
			parts = append(parts, l.name+"="+l.limit.String())
		}
	}
	return strings.Join(parts, ",")
}

// of returns the limits that can be judged in a mode: one JSON tells nothing of
// its first token.
func (o SLO) of(mode string) SLO {
	if mode != ModeStream {
		o.P2FT, o.TPOT = 0, 0
	}
	return o
}

// kept reports whether a completed request kept every limit. ok is false where
// that cannot be told, for want of its number of tokens.
func (o SLO) kept(r *Request, start time.Duration) (kept, ok bool) {
	if o.Latency > 0 && r.lastToken()-start > o.Latency {
		return false, true
	}
	if at, text := r.firstText(); o.P2FT > 0 && (!text || at-start > o.P2FT) {
		return false, true
	}
	if o.TPOT == 0 {
		return true, true
	}
	n, _ := r.outputTokens()
	switch {
	case n == 0:
		return false, false
	case n == 1:
		return true, true // there is nothing to wait for between tokens
	}
	return r.generation() <= o.TPOT*time.Duration(n-1), true
}

// goodput fills the rate of requests that kept the SLO.
func (s *Summary) goodput(done []*Request) {
	slo := s.SLO.of(s.Case.Mode)
	if cmp.Or(slo.P2FT, slo.TPOT, slo.Latency) == 0 || s.Wall <= 0 {
		return
	}
	good := 0
	for _, r := range done {
		kept, ok := slo.kept(r, r.start(s.Start))
		if !ok {
			return
		}
		if kept {
			good++
		}
	}
	s.figures["good_req_per_s"] = float64(good) / s.Wall.Seconds()
}
