package contract

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

func TestRunProbe(t *testing.T) {
	f := newFake(t)
	probe, err := RunProbe(t.Context(), f.probe(t, time.Minute))
	require.NoError(t, err)
	require.Len(t, probe.Answers, ProbeSize)
	require.Equal(t, 10, ProbeSize)
	for i, a := range probe.Answers {
		assert.Empty(t, a.Error, a.Detail)
		assert.Equal(t, "so it goes on: "+probeTexts[i], a.Text)
		assert.NotEmpty(t, a.IDs)
	}

	// The same server again, and then ones that say something else.
	check := func(name string, answer func(n int, prompt string) string, verdict results.Verdict, detail string) {
		t.Helper()
		other := newFake(t)
		other.answer = func(n int, prompt string, w http.ResponseWriter) { say(w, answer(n, prompt)) }
		own, err := RunProbe(t.Context(), other.probe(t, time.Minute))
		require.NoError(t, err)
		c := Compare(probe, own)
		term := c.Term()
		assert.Equal(t, results.TermProbe, term.Name)
		assert.Equal(t, verdict, term.Verdict, "%s: %s", name, term.Detail)
		assert.Contains(t, term.Detail, detail, name)
	}
	right := func(prompt string) string { return "so it goes on: " + prompt }
	check("the same", func(_ int, p string) string { return right(p) }, results.Kept, "10 of 10 equal")
	check("one differs late", func(n int, p string) string {
		if n == 2 {
			return "so it goes on, " + p
		}
		return right(p)
	}, results.Noted, "9 of 10 equal, first difference at token 4 (probe-3)")
	check("all differ late", func(_ int, p string) string { return "so it goes off: " + p }, results.Noted, "0 of 10 equal, first difference at token 3 (probe-1)")
	check("all differ at once", func(_ int, p string) string { return "<|im_start|>" + p }, results.Broken, "most answers differ from their first or second token on")
	check("six differ at once", func(n int, p string) string {
		if n < 6 {
			return "no " + p
		}
		return right(p)
	}, results.Broken, "4 of 10 equal, first difference at token 0")
	check("five differ at once", func(n int, p string) string {
		if n < 5 {
			return "no " + p
		}
		return right(p)
	}, results.Noted, "5 of 10 equal")
	check("some stop", func(n int, p string) string {
		if n == 1 {
			return "so it"
		}
		return right(p)
	}, results.Noted, "first difference at token 2 (probe-2)")
}

// TestProbeFailures holds that a probe ends and says what went wrong, whatever
// the server does.
func TestProbeFailures(t *testing.T) {
	count := func(p *results.Probe) map[string]int {
		n := map[string]int{}
		for _, a := range p.Answers {
			n[a.Error]++
		}
		return n
	}
	good := newFake(t)
	ref, err := RunProbe(t.Context(), good.probe(t, time.Minute))
	require.NoError(t, err)
	check := func(name string, f *fake, o ProbeOptions, want map[string]int) *results.Probe {
		t.Helper()
		p, err := RunProbe(t.Context(), o)
		require.NoError(t, err, name)
		assert.Equal(t, want, count(p), name)
		require.Len(t, p.Answers, ProbeSize, name)
		return p
	}

	f := newFake(t)
	f.answer = func(_ int, _ string, w http.ResponseWriter) {
		http.Error(w, "out of memory", http.StatusInternalServerError)
	}
	p := check("500", f, f.probe(t, time.Minute), map[string]int{results.ClassHTTP5xx: 2, results.ClassCanceled: 8})
	assert.EqualValues(t, 2, f.requests.Load(), "given up")
	assert.Contains(t, p.Answers[5].Detail, "not sent, after 2 failures in a row")
	c := Compare(ref, p)
	assert.Equal(t, results.Unknown, c.Term().Verdict)

	f = newFake(t)
	f.answer = func(n int, prompt string, w http.ResponseWriter) {
		if n%2 == 0 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
			return
		}
		say(w, "so it goes on: "+prompt)
	}
	p = check("every other", f, f.probe(t, time.Minute), map[string]int{results.ClassHTTP5xx: 5, "": 5})
	c = Compare(ref, p)
	assert.Equal(t, results.Term{Name: results.TermProbe, Verdict: results.Kept, Detail: "5 of 5 equal (5 were not answered by both)"}, c.Term())

	f = newFake(t)
	f.answer = func(int, string, http.ResponseWriter) { panic(http.ErrAbortHandler) }
	check("dropped", f, f.probe(t, time.Minute), map[string]int{results.ClassConnect: 2, results.ClassCanceled: 8})

	f = newFake(t)
	f.answer = func(_ int, _ string, w http.ResponseWriter) { w.Write([]byte("<html>")) }
	check("garbage", f, f.probe(t, time.Minute), map[string]int{results.ClassBadJSON: 2, results.ClassCanceled: 8})

	release := make(chan struct{})
	f = newFake(t)
	f.answer = func(int, string, http.ResponseWriter) { <-release }
	check("stalls", f, f.probe(t, 50*time.Millisecond), map[string]int{results.ClassTimeout: 2, results.ClassCanceled: 8})

	// The process dies while the third request is on its way.
	gone := make(chan struct{})
	f = newFake(t)
	f.answer = func(n int, prompt string, w http.ResponseWriter) {
		if n == 2 {
			close(gone)
			<-release
			return
		}
		say(w, prompt)
	}
	o := f.probe(t, time.Minute)
	o.Gone = gone
	check("dies", f, o, map[string]int{"": 2, results.ClassServerDied: 1, results.ClassCanceled: 7})
	close(release)
}

func TestProbeIsStopped(t *testing.T) {
	stop := errors.New("Ctrl-C")
	ctx, cancel := context.WithCancelCause(t.Context())
	f := newFake(t)
	f.answer = func(_ int, p string, w http.ResponseWriter) { cancel(stop); say(w, p) }
	_, err := RunProbe(ctx, f.probe(t, time.Minute))
	assert.ErrorIs(t, err, stop)
}

// TestCompareKeepsToWhatIsThere compares probes that do not fit together.
func TestCompareKeepsToWhatIsThere(t *testing.T) {
	a := &results.Probe{Answers: []results.ProbeAnswer{{Prompt: "x", Text: "one two", IDs: []int32{1, 2}}, {Prompt: "y", Text: "three"}}}
	c := Compare(a, &results.Probe{Answers: []results.ProbeAnswer{{Prompt: "z"}}})
	assert.Zero(t, c.Compared)
	assert.Equal(t, results.Unknown, c.Term().Verdict)
	c = Compare(&results.Probe{}, a)
	assert.Equal(t, results.Unknown, c.Term().Verdict)

	// Texts that differ have different ids; where they do not, the position is the end.
	c = Compare(a, &results.Probe{Answers: []results.ProbeAnswer{{Prompt: "x", Text: strings.ToUpper("one two"), IDs: []int32{1, 2}}}})
	require.Len(t, c.Differences, 1)
	assert.Equal(t, 2, c.Differences[0].At)
}
