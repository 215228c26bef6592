package sched

import (
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/serving/kvcache"
)

// prompt is a sequence with tokens first, first+1 …
func prompt(first int32, n, output int) *Seq {
	q := seq(n, output)
	for i := range q.Tokens {
		q.Tokens[i] = first + int32(i)
	}
	return q
}

// run schedules, compares the plan and ends the step.
func run(t *testing.T, s *Scheduler, want [][3]int, seqs ...*Seq) {
	t.Helper()
	b := s.Schedule()
	require.Equal(t, want, plan(b, seqs...))
	require.NoError(t, s.Check())
	sampled(s, b)
	require.NoError(t, s.Check())
}

func TestPrefixIsFound(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 64, MaxSeqs: 4, MaxLen: 64, PrefixCaching: true}, 32, 4)
	a, b, c, d, e := prompt(0, 10, 4), prompt(0, 10, 4), prompt(0, 8, 4), prompt(1, 10, 4), prompt(0, 10, 4)
	e.LogitsTo = 9
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	run(t, s, [][3]int{{0, 0, 10}, {1, 8, 2}}, a, b) // at once: b has a's blocks written by their step
	for _, q := range []*Seq{c, d} {
		require.NoError(t, s.Add(q))
	}
	// Of c's 8 tokens the last one is computed, so a part of a block is, too.
	run(t, s, [][3]int{{0, 10, 1}, {1, 10, 1}, {2, 4, 4}, {3, 0, 10}}, a, b, c, d)
	require.Equal(t, []int{0, 8, 4, 0}, []int{a.Cached(), b.Cached(), c.Cached(), d.Cached()})
	require.Equal(t, PrefixStats{Queries: 38, Hits: 12}, s.PrefixStats())
	for _, q := range []*Seq{a, b, c, d} {
		s.Remove(q)
	}
	require.Equal(t, 32, s.pool.FreeBlocks())

	require.NoError(t, s.Add(e)) // every row's logits are wanted
	run(t, s, [][3]int{{0, 0, 4}}, e)
	require.Equal(t, PrefixStats{Queries: 38, Hits: 12}, s.PrefixStats())
	s.Remove(e)

	// What was sampled is found as well: 10 tokens and two that a computed behind them.
	longer := &Seq{Tokens: append(append([]int32(nil), a.Tokens[:12]...), 7), Limit: 20}
	run2 := func(start int) {
		t.Helper()
		q := &Seq{Tokens: longer.Tokens, Limit: 20}
		require.NoError(t, s.Add(q))
		run(t, s, [][3]int{{0, start, 13 - start}}, q)
		require.Equal(t, start, q.Cached())
		s.Remove(q)
	}
	run2(8) // a computed 11 of them: two blocks are full
	run2(12)
	s.ResetPrefixCache()
	run2(0)
}

// TestSharedInOneStep has sequences with a prefix in common arrive together: it
// is computed once, also where its first sequence is cut.
func TestSharedInOneStep(t *testing.T) {
	check := func(name string, cfg Config, prompts []int, want ...[][3]int) {
		t.Helper()
		cfg.MaxSeqs, cfg.MaxLen, cfg.PrefixCaching = 8, 64, true
		s := newScheduler(t, cfg, 64, 4)
		var seqs []*Seq
		for _, n := range prompts {
			seqs = append(seqs, prompt(0, n, 4))
			require.NoError(t, s.Add(seqs[len(seqs)-1]))
		}
		for _, step := range want {
			t.Log(name)
			run(t, s, step, seqs...)
		}
		for _, q := range seqs {
			s.Remove(q)
		}
		require.Equal(t, 64, s.pool.FreeBlocks(), name)
	}
	check("choices of one prompt", Config{MaxTokens: 32}, []int{13, 13, 13, 13},
		[][3]int{{0, 0, 13}, {1, 12, 1}, {2, 12, 1}, {3, 12, 1}}, [][3]int{{0, 13, 1}, {1, 13, 1}, {2, 13, 1}, {3, 13, 1}})
	check("a prompt of whole blocks", Config{MaxTokens: 32}, []int{12, 12}, [][3]int{{0, 0, 12}, {1, 8, 4}})
	check("a longer one behind", Config{MaxTokens: 32}, []int{9, 15, 15}, [][3]int{{0, 0, 9}, {1, 8, 7}, {2, 12, 3}})
	// Nobody is admitted behind a prompt that is cut, so nobody computes what it will.
	check("the first is cut", Config{MaxTokens: 10}, []int{14, 15, 13},
		[][3]int{{0, 0, 10}}, [][3]int{{0, 10, 4}, {1, 12, 3}, {2, 12, 1}})
	check("the second is cut", Config{MaxTokens: 12}, []int{9, 21, 21},
		[][3]int{{0, 0, 9}, {1, 8, 3}}, [][3]int{{0, 9, 1}, {1, 11, 10}, {2, 20, 1}})
	check("a window", Config{MaxTokens: 32, Window: 6}, []int{17, 19}, [][3]int{{0, 0, 17}, {1, 16, 3}})
	check("a window, cut", Config{MaxTokens: 14, Window: 6}, []int{21, 22},
		[][3]int{{0, 0, 14}}, [][3]int{{0, 14, 7}, {1, 20, 2}})
}

// TestFailedIsNotShared has a step fail in which sequences share what it was to
// write: all of them are gone, and nothing of it is found.
func TestFailedIsNotShared(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 32, MaxSeqs: 4, MaxLen: 16, PrefixCaching: true}, 16, 2)
	a, b := prompt(0, 7, 4), prompt(0, 7, 4)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	require.Equal(t, [][3]int{{0, 0, 7}, {1, 6, 1}}, plan(s.Schedule(), a, b))
	s.Failed(a, b)
	require.NoError(t, s.Check())
	require.Equal(t, 16, s.pool.FreeBlocks())
	again := prompt(0, 7, 4)
	require.NoError(t, s.Add(again))
	run(t, s, [][3]int{{0, 0, 7}}, again)

	// One that is taken out before its step is done leaves its blocks to the other.
	s.Remove(again)
	s.ResetPrefixCache()
	a, b = prompt(0, 7, 4), prompt(0, 7, 4)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	batch := s.Schedule()
	s.Remove(a)
	require.NoError(t, s.Check())
	sampled(s, batch)
	require.NoError(t, s.Check())
	run(t, s, [][3]int{{1, 7, 1}}, a, b)
	s.Remove(b)
	require.Equal(t, 16, s.pool.FreeBlocks())
}

// TestPreemptedFindsItself has a sequence preempted: what nobody took of its
// blocks is not computed again, and counts as nothing found for its request.
func TestPreemptedFindsItself(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 16, MaxSeqs: 2, MaxLen: 16, PrefixCaching: true}, 6, 2)
	a, b := prompt(0, 2, 8), prompt(50, 5, 5)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	run(t, s, [][3]int{{0, 0, 2}, {1, 0, 5}}, a, b)
	run(t, s, [][3]int{{0, 2, 1}, {1, 5, 1}}, a, b)
	run(t, s, [][3]int{{0, 3, 1}, {1, 6, 1}}, a, b) // 2 + 4 blocks
	run(t, s, [][3]int{{0, 4, 1}}, a, b)            // a takes one: b's last, which was not full
	require.Equal(t, uint64(1), s.Preemptions())
	run(t, s, [][3]int{{0, 5, 1}}, a, b)
	s.Remove(a)
	run(t, s, [][3]int{{1, 6, 2}}, a, b)
	require.Zero(t, b.Cached())
	require.Equal(t, PrefixStats{Queries: 7}, s.PrefixStats())
}

// TestFailedIsNotFound has a step fail: its sequences are gone, and with them
// what the cache knew of them, also what was shared with others.
func TestFailedIsNotFound(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 16, MaxSeqs: 4, MaxLen: 16, PrefixCaching: true}, 16, 2)
	a, other := prompt(0, 6, 4), prompt(20, 6, 4)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(other))
	run(t, s, [][3]int{{0, 0, 6}, {1, 0, 6}}, a, other)
	s.Remove(other)
	b := prompt(0, 5, 4)
	require.NoError(t, s.Add(b))
	require.Equal(t, [][3]int{{0, 6, 1}, {1, 4, 1}}, plan(s.Schedule(), a, b))
	s.Failed(a, b)
	require.Zero(t, s.Running()+s.Waiting())
	require.Equal(t, 16, s.pool.FreeBlocks())
	again, untouched := prompt(0, 6, 4), prompt(20, 7, 4)
	require.NoError(t, s.Add(again))
	require.NoError(t, s.Add(untouched))
	run(t, s, [][3]int{{0, 0, 6}, {1, 6, 1}}, again, untouched)
	s.Discard(again)
	require.NoError(t, s.Add(prompt(0, 6, 4)))
	require.Zero(t, s.Schedule().Chunks[1].Start)
}

// TestWindow has a prompt of ten times the cache in a pool of 6 blocks of 4.
func TestWindow(t *testing.T) {
	cfg := Config{MaxTokens: 8, MaxSeqs: 2, MaxLen: 300, Window: 9}
	s := newScheduler(t, cfg, 6, 4)
	require.Equal(t, 300, s.MaxLen())
	require.Equal(t, 5, SeqBlocks(300, 9, 8, 4), "9 + 8 − 1 positions touch as many")
	q, small := prompt(0, 240, 60), prompt(0, 3, 3)
	require.NoError(t, s.Add(q))
	require.NoError(t, s.Add(small))
	for c := 0; c < 240; c += 8 {
		run(t, s, [][3]int{{0, c, 8}}, q, small)
		require.LessOrEqual(t, 6-s.pool.FreeBlocks(), 5)
		require.Equal(t, max(0, c+8-9+1)/4, q.table.Passed())
	}
	run(t, s, [][3]int{{0, 240, 1}, {1, 0, 3}}, q, small)
	for c := 241; len(q.Tokens) < 300; c++ {
		s.Remove(small)
		run(t, s, [][3]int{{0, c, 1}}, q)
		require.LessOrEqual(t, 6-s.pool.FreeBlocks(), 3, "9 positions")
	}
	s.Remove(q)
	require.Equal(t, 6, s.pool.FreeBlocks())

	for _, c := range []struct{ blocks, maxLen int }{{3, 300}, {2, 8}} {
		require.Equal(t, c.maxLen, newScheduler(t, cfg, c.blocks, 4).MaxLen(), "%d blocks", c.blocks)
	}
}

// TestStall takes away all blocks that a prompt's window passes. It waits, is
// preempted when others' step fails, and ends once there are blocks again.
func TestStall(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 9, MaxSeqs: 2, MaxLen: 200, Window: 5}, 64, 2)
	old, q := prompt(0, 1, 60), prompt(0, 100, 10)
	require.NoError(t, s.Add(old))
	require.NoError(t, s.Add(q))
	run(t, s, [][3]int{{0, 0, 1}, {1, 0, 8}}, old, q)
	require.True(t, s.pool.Grow(&old.table, 60))
	var hog kvcache.Table
	hogged := 0
	for stalled := false; !stalled; {
		hogged += s.pool.FreeBlocks()
		require.True(t, s.pool.Grow(&hog, 2*hogged))
		b := s.Schedule()
		require.Equal(t, old, b.Chunks[0].Seq)
		stalled = len(b.Chunks) == 1
		if !stalled {
			sampled(s, b)
		}
	}
	require.Equal(t, 2, s.Running())
	s.Failed(old)
	require.Equal(t, []int{0, 1}, []int{s.Running(), s.Waiting()})
	s.pool.Free(&hog)
	for steps := 0; len(q.Tokens) < 110; steps++ {
		require.Less(t, steps, 30)
		sampled(s, s.Schedule())
		require.NoError(t, s.Check())
	}
}
