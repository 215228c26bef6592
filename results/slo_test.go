package results

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseSLO(t *testing.T) {
	for text, want := range map[string]SLO{
		"":                                  {},
		"latency=5s":                        {Latency: 5 * time.Second},
		"p2ft=200ms, tpot=50ms":             {P2FT: 200 * ms, TPOT: 50 * ms},
		"latency=1m,tpot=1.5ms,p2ft=1h0m1s": {P2FT: time.Hour + time.Second, TPOT: 1500 * time.Microsecond, Latency: time.Minute},
	} {
		got, err := ParseSLO(text)
		require.NoErrorf(t, err, "for %q", text)
		assert.Equalf(t, want, got, "for %q", text)
		again, err := ParseSLO(got.String())
		require.NoError(t, err)
		assert.Equal(t, got, again)
	}
	for text, want := range map[string]string{
		"ttft=1s":         "want p2ft=TIME",
		",":               "want p2ft=TIME",
		"p2ft":            "invalid duration",
		"p2ft=5":          "missing unit",
		"p2ft=0s":         "more than 0",
		"tpot=-1s":        "more than 0",
		"p2ft=1s,p2ft=2s": "p2ft is there twice",
	} {
		_, err := ParseSLO(text)
		assert.ErrorContainsf(t, err, want, "for %q", text)
	}
}

func FuzzParseSLO(f *testing.F) {
	for _, text := range []string{"", "p2ft=1s", "tpot=5ms,latency=3s", "latency=1ns,", "p2ft=9999999h"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSLO(text)
		if err != nil {
			return
		}
		if s.P2FT < 0 || s.TPOT < 0 || s.Latency < 0 {
			t.Errorf("for %q: %+v", text, s)
		}
		if again, err := ParseSLO(s.String()); err != nil || again != s {
			t.Errorf("for %q: %+v is written %q and read %+v, %v", text, s, s, again, err)
		}
	})
}

// Two requests within one tenth of a second: P2FT 50 ms and 90 ms, TPOT 50 ms
// and 10 ms, latency 100 ms both.
func TestGoodput(t *testing.T) {
	fast, slow := stream(0, 50*ms, 100*ms), stream(0, 90*ms, 100*ms)
	alone := slow
	alone.OutputTokens, alone.Chunks = 1, alone.Chunks[:1]
	unknown := slow
	unknown.OutputTokens, unknown.RecountedTokens, unknown.Chunks = 0, -1, slices.Clone(slow.Chunks)
	unknown.Chunks[1].Tokens = 0
	mute := slow
	mute.Chunks = []Chunk{{At: slow.Chunks[0].At, Tokens: 2}}
	failed := fast
	failed.Error = ClassTimeout
	for _, test := range []struct {
		slo  string
		reqs []Request
		want float64 // requests; -1: not told
	}{
		{"", []Request{fast, slow}, -1},
		{"latency=100ms", []Request{fast, slow}, 2},
		{"latency=99ms", []Request{fast, slow}, 0},
		{"p2ft=50ms", []Request{fast, slow}, 1},
		{"p2ft=49ms", []Request{fast, slow}, 0},
		{"tpot=10ms", []Request{fast, slow}, 1},
		{"tpot=9ms", []Request{fast, slow}, 0},
		{"p2ft=89ms,tpot=49ms", []Request{fast, slow}, 0},
		{"p2ft=90ms,tpot=50ms,latency=1s", []Request{fast, slow}, 2},
		{"p2ft=90ms", []Request{fast, slow, failed}, 2},
		{"tpot=1ns", []Request{fast, alone}, 1}, // one token has no gap
		{"tpot=1s", []Request{fast, unknown}, -1},
		{"latency=1s", []Request{fast, unknown}, 2},
		{"p2ft=1s", []Request{fast, mute}, 1},
	} {
		slo, err := ParseSLO(test.slo)
		require.NoError(t, err)
		s := Summarize(test.reqs, Options{SLO: slo})
		v, ok := s.Figure("good_req_per_s")
		assert.Equalf(t, test.want >= 0, ok, "for %q", test.slo)
		if ok {
			assert.InDeltaf(t, test.want, v*s.Wall.Seconds(), 1e-9, "for %q", test.slo)
		}
		assert.Equal(t, test.slo, cell(t, &s, "slo"))
	}
	// One JSON tells nothing of its first token: of that nothing is asked.
	fast.Case, slow.Case = syncCase, syncCase
	s := Summarize([]Request{fast, slow}, Options{SLO: SLO{P2FT: 1, Latency: time.Second}})
	figure(t, &s, "good_req_per_s", 20)
	s = Summarize([]Request{fast, slow}, Options{SLO: SLO{P2FT: 1}})
	absent(t, &s, "good_req_per_s")
}
