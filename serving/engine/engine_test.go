package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/serving/sample"
)

// requests are 16 of every kind, from 1 to 40 tokens of prompt.
func requests() (all []Request) {
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range 16 {
		r := Request{
			ID: fmt.Sprint(i), Prompt: make([]int32, 1+rng.IntN(40)), MaxTokens: 1 + rng.IntN(30),
			Sampling: sample.Params{Temperature: 0.3 * float64(i%5), TopP: 1 - 0.1*float64(i%3), TopK: 20 * (i % 2), Seed: uint64(i)},
		}
		for j := range r.Prompt {
			r.Prompt[j] = rng.Int32N(61)
		}
		if i%2 == 0 {
			r.StopTokens = []int32{7, 19, 23, 50}
			r.MinTokens = min(r.MaxTokens, 5*(i%4))
		}
		params(&r, i)
		all = append(all, r)
	}
	return all
}

// plain are the same requests with nothing that needs the logits on the host, but
// min_tokens here and there.
func plain() (all []Request) {
	for _, r := range requests() {
		p := r.Sampling
		r.ID += " plain"
		r.Sampling = sample.Params{Temperature: p.Temperature, TopP: p.TopP, TopK: p.TopK, MinP: p.MinP, Seed: p.Seed}
		r.Logprobs, r.TopLogprobs, r.PromptLogprobs = false, 0, false
		all = append(all, r)
	}
	return all
}

// params gives request i of every 16 another mixture of the parameters that
// look at more than one row, and of log-probabilities.
func params(r *Request, i int) {
	p := &r.Sampling
	p.MinP = 0.04 * float64(i%3)
	p.TypicalP = 1 - 0.1*float64(i%4)
	p.RepetitionPenalty = []float64{0, 1.3, 1, 0.8}[i%4]
	p.PresencePenalty = []float64{0, 0.9, -0.4}[i%3]
	p.FrequencyPenalty = []float64{0.5, 0, 0, 0, -0.2}[i%5]
	if i%4 == 3 {
		p.Bias = []sample.Bias{{ID: 7, Value: 3}, {ID: 30, Value: -100}, {ID: 40, Value: 1.5}}
	}
	if i == 14 {
		p.Allowed = []int32{2, 3, 5, 7, 11, 13, 17, 19, 23, 29}
	}
	r.Logprobs = i%2 == 1 || i%8 == 6
	if r.Logprobs {
		r.TopLogprobs = i % 6
		r.PromptLogprobs = i%4 != 3
	}
}

// TestOutputIsTheRequestsOwn is the engine's main promise: what a request
// generates is what the reference generates for it alone, whatever the batch,
// the chunk and block sizes, preemptions and the cancels of others.
func TestOutputIsTheRequestsOwn(t *testing.T) {
	const maxLen = 70
	for _, c := range []struct {
		name                                  string
		maxTokens, maxSeqs, blocks, blockSize int
		preempts                              bool
	}{
		{"one at a time", 1, 1, 70, 1, false},
		{"all at once", 512, 16, 100, 16, false},
		{"chunks of what is left of 17", 17, 16, 400, 3, false},
		{"four rows, four sequences", 4, 4, 24, 16, false},
		{"blocks run out", 64, 16, 14, 5, true},
		{"blocks of one token run out", 33, 16, 90, 1, true},
		{"one sequence fills the cache", 16, 16, 1, 70, false},
	} {
		kinds(t, func(t *testing.T, draws bool) {
			for name, all := range map[string][]Request{"plain": plain(), "mixed": append(requests(), plain()...)} {
				t.Run(c.name+"/"+name, func(t *testing.T) {
					f := newFake(maxLen, c.maxTokens, c.maxSeqs, c.blocks, c.blockSize).drawer(draws)
					e, err := newEngine(f, Config{SampleVocab: 59, SampleThreads: 3, Log: quiet})
					require.NoError(t, err)
					e.samplers.worth = 1
					t.Cleanup(func() { stop(t, e, f) })
					own(t, e, all, maxLen)
					require.Equal(t, c.preempts, e.Stats().Preemptions > 0, "preemptions: %d", e.Stats().Preemptions)
					require.NoError(t, e.Close(context.Background()))
					if draws {
						require.Positive(t, f.draws.ahead, "no step was submitted behind another")
						require.Equal(t, 2, f.draws.most)
					}
				})
			}
		})
	}
}

// own starts an engine with all of the requests, and some that leave early, and
// holds that each gets its own output.
func own(t *testing.T, e *Engine, all []Request, maxLen int) {
	var readers sync.WaitGroup
	for i, r := range all {
		alone := newFake(maxLen, 1, 1, 1, 1)
		want, prompt := alone.reference(t, r, 59), alone.scores(t, r, 59)
		s := submit(t, e, r)
		readers.Go(func() {
			if r.PromptLogprobs {
				got, err := s.Prompt(context.Background())
				assert.NoErrorf(t, err, "for request %s", r.ID)
				assert.Equalf(t, prompt, got, "for the prompt of request %s", r.ID)
			}
			got, err := collect(s)
			assert.NoErrorf(t, err, "for request %s", r.ID)
			assert.Equalf(t, want, got, "for request %s", r.ID)
		})
		other := submit(t, e, greedy(30, int32(i), 3, 1)) // begins like nobody else
		readers.Go(func() {
			for range i % 7 {
				if _, err := other.Next(context.Background()); err != nil {
					break
				}
			}
			other.Close()
		})
	}
	go e.run() // only now, so that all of them are there from the start
	readers.Wait()
}

func TestFinish(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		stop := func(r Request, ids ...int32) Request { r.StopTokens = ids; return r }
		for name, c := range map[string]struct {
			request Request
			want    []Token
		}{
			"length":            {greedy(3, 4), []Token{{ID: 5, Finish: ""}, {ID: 6, Finish: ""}, {ID: 7, Finish: FinishLength}}},
			"one token":         {greedy(1, 4), []Token{{ID: 5, Finish: FinishLength}}},
			"stop":              {stop(greedy(9, 4), 6), []Token{{ID: 5, Finish: ""}, {ID: 6, Finish: FinishStop}}},
			"stop at once":      {stop(greedy(9, 4), 6, 5), []Token{{ID: 5, Finish: FinishStop}}},
			"stop and length":   {stop(greedy(2, 4), 6), []Token{{ID: 5, Finish: ""}, {ID: 6, Finish: FinishStop}}},
			"stop is elsewhere": {stop(greedy(2, 4), 4), []Token{{ID: 5, Finish: ""}, {ID: 6, Finish: FinishLength}}},
			// 5 is banned: of equals, the lowest id.
			"min tokens": {
				func() Request { r := stop(greedy(9, 4), 5, 2); r.MinTokens = 2; return r }(),
				[]Token{{ID: 0, Finish: ""}, {ID: 1, Finish: ""}, {ID: 2, Finish: FinishStop}},
			},
			"min tokens is max tokens": {
				func() Request { r := stop(greedy(2, 4), 0, 5); r.MinTokens = 2; return r }(),
				[]Token{{ID: 1, Finish: ""}, {ID: 2, Finish: FinishLength}},
			},
		} {
			f := newFake(32, 8, 2, 8, 4).drawer(draws)
			f.next = counting
			got, err := collect(submit(t, start(t, f, Config{}), c.request))
			require.NoErrorf(t, err, "for %s", name)
			require.Equalf(t, c.want, got, "for %s", name)
		}
	})
}

func TestIdsBeyondTheTokenizer(t *testing.T) {
	kinds(t, func(t *testing.T, draws bool) {
		f := newFake(40, 8, 2, 20, 4).drawer(draws)
		f.next = func(_ []int32, logits []float32) {
			for i := range logits {
				logits[i] = float32(i)
			}
		}
		got, err := collect(submit(t, start(t, f, Config{SampleVocab: 50}), greedy(3, 60)))
		require.NoError(t, err)
		require.Equal(t, []Token{{ID: 49, Finish: ""}, {ID: 49, Finish: ""}, {ID: 49, Finish: FinishLength}}, got)
	})
}

func TestSubmitRefuses(t *testing.T) {
	f := newFake(32, 8, 2, 5, 4)
	e := start(t, f, Config{})
	require.Equal(t, 20, e.MaxModelLen(), "the cache is smaller than the context")
	with := func(change func(*Request)) Request {
		r := greedy(4, 1, 2, 3)
		change(&r)
		return r
	}
	for name, c := range map[string]struct {
		request Request
		want    error
		says    []string
	}{
		"empty prompt":    {greedy(4), ErrEmptyPrompt, nil},
		"negative id":     {greedy(4, 1, -1), ErrBadToken, []string{"prompt token 1 is -1", "61"}},
		"id too large":    {greedy(4, 61), ErrBadToken, []string{"61"}},
		"stop id":         {with(func(r *Request) { r.StopTokens = []int32{99} }), ErrBadToken, []string{"stop token 99"}},
		"no output":       {greedy(0, 1), ErrBadParams, []string{"max_tokens is 0"}},
		"negative output": {greedy(-5, 1), ErrBadParams, []string{"max_tokens is -5"}},
		"negative min":    {with(func(r *Request) { r.MinTokens = -1 }), ErrBadParams, []string{"min_tokens is -1"}},
		"min over max":    {with(func(r *Request) { r.MinTokens = 5 }), ErrBadParams, []string{"min_tokens is 5", "4"}},
		"bias":            {with(func(r *Request) { r.Sampling.Bias = []sample.Bias{{ID: 61}} }), ErrBadToken, []string{"logit_bias of token 61"}},
		"allowed":         {with(func(r *Request) { r.Sampling.Allowed = []int32{0, -1} }), ErrBadToken, []string{"allowed token -1"}},
		"top logprobs":    {with(func(r *Request) { r.Logprobs, r.TopLogprobs = true, 21 }), ErrBadParams, []string{"21", "--max-logprobs, 20"}},
		"negative top":    {with(func(r *Request) { r.Logprobs, r.TopLogprobs = true, -1 }), ErrBadParams, []string{"-1"}},
		"top alone":       {with(func(r *Request) { r.TopLogprobs = 1 }), ErrBadParams, []string{"without logprobs"}},
		"prompt alone":    {with(func(r *Request) { r.PromptLogprobs = true }), ErrBadParams, []string{"without logprobs"}},
		"min_p":           {with(func(r *Request) { r.Sampling.MinP = 2 }), ErrBadParams, []string{"min_p is 2"}},
		"temperature":     {with(func(r *Request) { r.Sampling.Temperature = math.NaN() }), ErrBadParams, []string{"temperature is NaN"}},
		"top_p":           {with(func(r *Request) { r.Sampling.TopP = 0 }), ErrBadParams, []string{"top_p is 0"}},
		"too long":        {greedy(18, 1, 2, 3), ErrTooLong, []string{"20", "3", "18"}},
		"prompt too long": {greedy(1, make([]int32, 21)...), ErrTooLong, []string{"20", "21"}},
		"overflow":        {greedy(math.MaxInt, 1, 2), ErrTooLong, []string{"20"}},
	} {
		_, err := e.Submit(context.Background(), c.request)
		require.ErrorIsf(t, err, c.want, "for %s", name)
		for _, s := range c.says {
			require.ErrorContainsf(t, err, s, "for %s", name)
		}
	}
	var long *TooLongError
	_, err := e.Submit(context.Background(), greedy(18, 1, 2, 3))
	require.True(t, errors.As(err, &long))
	require.Equal(t, TooLongError{Prompt: 3, MaxTokens: 18, Limit: 20}, *long)

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = e.Submit(ctx, greedy(1, 1))
	require.ErrorIs(t, err, context.Canceled)

	got, err := collect(submit(t, e, greedy(17, 1, 2, 3))) // exactly the context
	require.NoError(t, err)
	require.Len(t, got, 17)
}

// TestSubmitCopies holds that the caller may reuse the slices of a request.
func TestSubmitCopies(t *testing.T) {
	f := newFake(32, 8, 2, 8, 4)
	f.next = counting
	e := manual(t, f, Config{})
	r := greedy(3, 4)
	r.StopTokens = []int32{6}
	r.Sampling.Bias, r.Sampling.Allowed = []sample.Bias{{ID: 5, Value: 1}}, []int32{5, 6}
	s := submit(t, e, r)
	r.Prompt[0], r.StopTokens[0], r.Sampling.Bias[0].ID, r.Sampling.Allowed[0] = 9, 5, 6, 9
	for e.turn() == stepped {
	}
	got, err := collect(s)
	require.NoError(t, err)
	require.Equal(t, []Token{{ID: 5, Finish: ""}, {ID: 6, Finish: FinishStop}}, got)
}

func TestNewRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		model *fake
		cfg   Config
		says  string
	}{
		"more rows than the model's":   {newFake(32, 8, 2, 8, 4), Config{MaxTokens: 9}, "--max-num-batched-tokens is 9, must be 1 to 8"},
		"more sequences":               {newFake(32, 8, 2, 8, 4), Config{MaxSeqs: 3}, "--max-num-seqs is 3, must be 1 to 2"},
		"more logprobs than ids":       {newFake(32, 8, 2, 8, 4), Config{MaxLogprobs: 62}, "--max-logprobs is 62, must be 1 to 61"},
		"negative":                     {newFake(32, 8, 2, 8, 4), Config{MaxWaiting: -1}, "MaxWaiting is -1"},
		"a larger tokenizer":           {newFake(32, 8, 2, 8, 4), Config{SampleVocab: 62}, "must be 1 to 61"},
		"fewer rows than sequences":    {newFake(32, 8, 2, 8, 4), Config{MaxTokens: 1}, "--max-num-batched-tokens is 1, below --max-num-seqs, 2"},
		"a model made without a cache": {newFake(32, 8, 2, 0, 4), Config{}, "0 blocks"},
	} {
		_, err := New(c.model, c.cfg)
		require.ErrorContainsf(t, err, c.says, "for %s", name)
	}
}

func TestOverload(t *testing.T) {
	f := newFake(32, 4, 2, 8, 4)
	e := manual(t, f, Config{MaxWaiting: 3})
	var all []*Stream
	for range 3 {
		all = append(all, submit(t, e, greedy(2, 1, 2)))
	}
	_, err := e.Submit(context.Background(), greedy(2, 1, 2))
	require.ErrorIs(t, err, ErrOverloaded)
	require.ErrorContains(t, err, "3 of at most 3")
	require.Equal(t, 3, e.Stats().Waiting)
	require.NoError(t, e.Healthy(), "an overloaded engine is a healthy one")
	require.Equal(t, stepped, e.turn()) // two of them run, one waits
	require.Equal(t, 2, e.Stats().Running)
	require.Equal(t, 1, e.Stats().Waiting)
	for range 2 {
		all = append(all, submit(t, e, greedy(2, 1, 2)))
	}
	_, err = e.Submit(context.Background(), greedy(2, 1, 2))
	require.ErrorIs(t, err, ErrOverloaded)
	for e.turn() == stepped {
	}
	for _, s := range all {
		got, err := collect(s)
		require.NoError(t, err)
		require.Len(t, got, 2)
	}
}

func TestStats(t *testing.T) {
	f := newFake(32, 8, 4, 8, 4)
	f.next = counting
	e := manual(t, f, Config{})
	stop := greedy(9, 1, 2, 3, 4, 5)
	stop.StopTokens = []int32{7}
	submit(t, e, stop)
	submit(t, e, greedy(3, 1, 2, 3, 4, 5, 6, 7))
	submit(t, e, greedy(1, 5)).Close()
	require.Equal(t, Stats{Waiting: 3, KVBlocks: 8, KVBlockSize: 4}, e.Stats())
	for i, want := range []Stats{
		{Running: 2, KVBlocksUsed: 4, Steps: 1, PromptTokens: 5, OutputTokens: 1},
		{Running: 1, KVBlocksUsed: 2, Steps: 2, PromptTokens: 12, OutputTokens: 3, StopFinishes: 1},
		{Running: 1, KVBlocksUsed: 2, Steps: 3, PromptTokens: 12, OutputTokens: 4, StopFinishes: 1},
		{Steps: 4, PromptTokens: 12, OutputTokens: 5, StopFinishes: 1, LengthFinishes: 1},
	} {
		want.KVBlocks, want.KVBlockSize, want.AbortFinishes = 8, 4, 1
		require.Equal(t, stepped, e.turn())
		require.Equalf(t, want, e.Stats(), "after step %d", i+1)
	}
	require.Equal(t, idle, e.turn())
}

// TestDecodeAllocatesNothing measures steps of the scheduler, the engine and
// two sampling threads. The sequences are long enough not to end in it.
func TestDecodeAllocatesNothing(t *testing.T) {
	e := steady(t, 16)
	require.Zero(t, testing.AllocsPerRun(500, func() {
		if e.turn() != stepped {
			t.Fatal("no step")
		}
	}))
	require.Equal(t, 16, e.Stats().Running)
}

// steady is an engine with n sequences that decode and a model that costs nothing.
func steady(t testing.TB, n int) *Engine {
	f := newFake(1<<14, 16*n, n, n<<10, 16)
	f.next = func(_ []int32, logits []float32) { clear(logits) }
	e := manual(t, f, Config{SampleThreads: 2, PrefixCaching: true})
	e.model = instant{f}
	for i := range n {
		r := greedy(1<<14-3, 1, 2, int32(i))
		r.Sampling.Temperature, r.Sampling.TopP = float64(i%2), 0.9
		if i%3 > 0 {
			r.Sampling.RepetitionPenalty, r.Sampling.FrequencyPenalty, r.Sampling.MinP = 1.1, 0.1, 0.01
			r.Sampling.Bias = []sample.Bias{{ID: 4, Value: 2}}
		}
		submit(t, e, r)
	}
	require.Equal(t, stepped, e.turn())
	require.Equal(t, stepped, e.turn())
	return e
}

// instant leaves out the fake's checks, which read every history.
type instant struct{ *fake }

func (i instant) Forward(s *kernels.Step) ([]float32, error) {
	i.logits = grown(i.logits, len(s.Out)*i.vocab)
	clear(i.logits)
	return i.logits, nil
}

func BenchmarkDecodeStep(b *testing.B) {
	for _, n := range []int{1, 16} {
		b.Run(fmt.Sprintf("seqs=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			e := steady(b, n)
			for b.Loop() {
				if e.turn() != stepped || e.Stats().OutputTokens > uint64(n)*16000 {
					b.StopTimer()
					e = steady(b, n)
					b.StartTimer()
				}
			}
		})
	}
}

// TestHelpersAreWorthWaking counts who samples.
func TestHelpersAreWorthWaking(t *testing.T) {
	const vocab = 50_257
	greedy, drawn := sample.Params{TopP: 1}, sample.Params{Temperature: 1, TopP: 1}
	for _, c := range []struct {
		rows     int
		sampling sample.Params
		logprobs bool
		helpers  int
	}{{1, drawn, true, 0}, {4, greedy, false, 0}, {8, greedy, false, 1}, {64, greedy, false, 3}, {2, drawn, false, 1}, {4, greedy, true, 3}} {
		s := &samplers{helpers: 3, worth: helperWorth, width: vocab, rows: make([]row, c.rows)}
		for i := range s.rows {
			s.rows[i].stream = &Stream{req: Request{Sampling: c.sampling, Logprobs: c.logprobs}}
		}
		require.Equal(t, c.helpers, s.wanted(), "%+v", c)
	}
}
