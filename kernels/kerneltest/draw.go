package kerneltest

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// drawer opens the device under test.
func (s *suite) drawer(t *testing.T) (rig, kernels.Drawer) {
	t.Helper()
	r, _ := s.pair(t)
	return r, r.dev.(kernels.Drawer)
}

// wanted is a step of n rows without a cache, all of them wanted.
func wanted(n int) *kernels.Step {
	s := rowsStep(n)
	for i := range n {
		s.Out = append(s.Out, int32(i))
	}
	return s
}

// submit runs ops and a Draw as one step.
func submit(t *testing.T, d kernels.Drawer, s *kernels.Step, ops func(), logits kernels.Buffer, vocab int, draws []kernels.Draw) {
	t.Helper()
	require.NoError(t, d.Begin(s))
	ops()
	d.Draw(logits, vocab, draws)
	require.NoError(t, d.Submit())
}

// ways are draws of every kind.
var ways = []kernels.Draw{
	{TopP: 1},
	{Temperature: 1, TopP: 1},
	{Temperature: 0.7, TopP: 0.9},
	{Temperature: 1.3, TopP: 1, TopK: 1},
	{Temperature: 0.8, TopP: 0.95, TopK: 40},
	{Temperature: 1, TopP: 1, MinP: 0.05},
	{Temperature: 0.1, TopP: 0.5, TopK: 1000000, MinP: 0.001},
	{Temperature: 20, TopP: 0.999, TopK: -1},
	{Temperature: 1, TopP: 1e-9},
	{Temperature: 1, TopP: 1, MinP: 1},
}

// Tokens are those that pick picks, whatever else is drawn in the step, but where
// they hang on a rounding.
func (s *suite) draw(t *testing.T) {
	r, d := s.drawer(t)
	sure, all := 0, 0
	for _, c := range []struct{ width, vocab int }{{1, 1}, {7, 5}, {64, 64}, {257, 200}, {1031, 1024}, {5003, 5000}, {50257, 50257}} {
		rows := 2 * len(ways)
		if c.width > 10000 {
			rows = len(ways)
		}
		logits := uniform(uint64(70+c.width), rows*c.width, 6)
		draws := make([]kernels.Draw, rows)
		for i := range draws {
			draws[i] = ways[i%len(ways)]
			draws[i].Seed, draws[i].Index = uint64(i)*0x9E3779B97F4A7C15, uint64(i)<<uint(i)
		}
		for i := range c.width { // the first row and the one after it: of equal logits
			logits[i] = -2
			logits[c.width+i] = float32(i % 3)
		}
		in := r.buffer(logits, c.width)
		submit(t, d, wanted(rows), func() {}, in, c.vocab, draws)
		ids, err := d.Drawn()
		require.NoError(t, err)
		require.Len(t, ids, rows)
		for i, id := range ids {
			want, certain := pick(logits[i*c.width:][:c.vocab], draws[i])
			all++
			if !certain {
				require.True(t, id >= 0 && int(id) < c.vocab)
				continue
			}
			sure++
			require.Equal(t, want, id, "row %d of [%d, %d], vocabulary %d: %+v", i, rows, c.width, c.vocab, draws[i])
		}
	}
	require.Greater(t, float64(sure), 0.9*float64(all), "rows whose token does not hang on a rounding")
	t.Logf("%d of %d tokens compared", sure, all)

	// Numbers that are not finite tell of themselves, those beyond the vocabulary not.
	const width, vocab = 300, 290
	logits := uniform(71, 8*width, 3)
	for row, at := range []int{0, 289, 290, 150, 299, 7, 31} {
		logits[row*width+at] = float32([]float64{math.NaN(), math.Inf(1), math.NaN(), math.Inf(-1), math.Inf(1), math.NaN(), math.Inf(1)}[row])
	}
	for _, way := range ways {
		way.Seed = 5
		draws := []kernels.Draw{way, way, way, way, way, way, way, way}
		submit(t, d, wanted(8), func() {}, r.buffer(logits, width), vocab, draws)
		ids, err := d.Drawn()
		require.NoError(t, err)
		for row, id := range ids {
			if want, certain := pick(logits[row*width:][:vocab], way); certain {
				require.Equal(t, want, id, "row %d, %+v", row, way)
			}
		}
		require.Equal(t, int32(kernels.NoToken), ids[0])
		require.NotEqual(t, int32(kernels.NoToken), ids[2])
	}
}

// Steps are begun before those that draw their tokens are done.
func (s *suite) drawInFlight(t *testing.T) {
	r, d := s.drawer(t)
	const vocab, rows = 61, 5
	next := func(id int32) int32 { return (id*7 + 3) % vocab }
	table := make([]float32, vocab*vocab) // row id is largest at next(id)
	for id := range int32(vocab) {
		table[id*vocab+next(id)] = 5
	}
	w, logits := r.float(table, vocab, vocab), r.empty(rows, vocab)
	greedy := make([]kernels.Draw, rows)
	for i := range greedy {
		greedy[i].TopP = 1
	}
	run := func(s *kernels.Step, n int) {
		t.Helper()
		submit(t, d, s, func() { d.Embed(logits, w, nil) }, logits, vocab, greedy[:n])
	}
	drawn := func(want ...int32) {
		t.Helper()
		ids, err := d.Drawn()
		require.NoError(t, err)
		require.Equal(t, want, append([]int32(nil), ids...))
	}
	begin := func(from ...int32) *kernels.Step {
		s := wanted(len(from))
		s.Starts, s.Lens = []int32{0}, nil // each a sequence of its own
		for i := range from {
			s.Starts, s.Lens = append(s.Starts, int32(i+1)), append(s.Lens, 1)
			s.Positions[i], s.Tokens[i] = 0, int32(40+i)
		}
		s.From = from
		return s
	}
	n := func(id int32, times int) int32 {
		for range times {
			id = next(id)
		}
		return id
	}
	first := wanted(rows)
	first.Tokens = []int32{1, 2, 3, 4, 5}
	run(first, rows)
	run(begin(4, -1, 0, 0, -1), 5) // before the first was asked for
	drawn(n(1, 1), n(2, 1), n(3, 1), n(4, 1), n(5, 1))
	run(begin(1, 0, 3), 3)
	run(begin(2, 1), 2) // three under way
	drawn(n(5, 2), n(41, 1), n(1, 2), n(1, 2), n(44, 1))
	drawn(n(41, 2), n(5, 3), n(1, 3))
	drawn(n(1, 4), n(5, 4))

	// Nobody's tokens: a step that is ended, not submitted, and one that draws none.
	require.NoError(t, d.Begin(first))
	d.Embed(logits, w, nil)
	d.Draw(logits, vocab, greedy)
	require.NoError(t, d.End())
	run(begin(4, 3), 0)
	drawn()
	run(begin(-1, -1), 2)
	drawn(n(40, 1), n(41, 1))
	got, err := d.Read(logits, vocab)
	require.NoError(t, err)
	require.Equal(t, table[40*vocab:41*vocab], got, "Read behind Submit")

	// More steps than a device keeps the tokens of.
	for i := range int32(9) {
		s := wanted(1)
		s.Tokens[0] = i
		run(s, 1)
	}
	for i := range int32(9) {
		drawn(n(i, 1))
	}
}

// What is wrong ends the step, and tells so; what was drawn before is there.
func (s *suite) drawMistakes(t *testing.T) {
	r, d := s.drawer(t)
	const vocab = 10
	w := r.float(uniform(80, vocab*vocab, 1), vocab, vocab)
	logits := r.empty(4, vocab)
	one := []kernels.Draw{{TopP: 1}}
	_, err := d.Drawn()
	require.Error(t, err, "Drawn before anything was submitted")
	require.Error(t, d.Submit(), "Submit without Begin")
	require.NoError(t, d.Begin(wanted(1)))
	require.Error(t, d.Submit(), "Submit without Draw")

	submit(t, d, wanted(1), func() { d.Embed(logits, w, nil) }, logits, vocab, one)
	for _, row := range []int32{1, -2, math.MaxInt32, math.MinInt32} {
		s := wanted(1)
		s.From = []int32{row}
		err := d.Begin(s)
		require.ErrorIs(t, err, kernels.ErrStep)
		require.ErrorContains(t, err, "From")
	}
	spoilt := wanted(1)
	spoilt.Tokens[0] = vocab
	require.NoError(t, d.Begin(spoilt))
	d.Embed(logits, w, nil)
	d.Draw(logits, vocab, one)
	err = d.Submit()
	require.ErrorIs(t, err, kernels.ErrStep)
	require.ErrorContains(t, err, "Tokens")
	after := wanted(1)
	after.From = []int32{0}
	require.ErrorIs(t, d.Begin(after), kernels.ErrStep, "From a step that drew nothing")
	ids, err := d.Drawn()
	require.NoError(t, err)
	require.Len(t, ids, 1)
	_, err = d.Drawn()
	require.Error(t, err)

	for name, call := range map[string]func(){
		"too many ids":  func() { d.Draw(logits, vocab+1, one) },
		"no ids":        func() { d.Draw(logits, 0, one) },
		"too many rows": func() { d.Draw(logits, vocab, []kernels.Draw{{}, {}}) },
		"nil":           func() { d.Draw(nil, vocab, one) },
	} {
		require.NoError(t, d.Begin(wanted(1)))
		func() {
			defer func() { require.Contains(t, fmt.Sprint(recover()), "Draw", name) }()
			call()
		}()
		require.NoError(t, d.End())
	}
	require.Panics(t, func() { d.Draw(logits, vocab, one) }, "outside of a step")
	require.NoError(t, d.Begin(wanted(1)))
	d.Draw(logits, vocab, one)
	require.Panics(t, func() { d.Draw(logits, vocab, one) }, "twice")
	require.NoError(t, d.End())
	require.NoError(t, d.Close())
	_, err = d.Drawn()
	require.Error(t, err, "Drawn after Close")
}
