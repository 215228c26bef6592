package sched

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// submit schedules, compares the plan and hands the batch to a device.
func submit(t *testing.T, s *Scheduler, want [][3]int, seqs ...*Seq) {
	t.Helper()
	b := s.Schedule()
	require.Equal(t, want, plan(b, seqs...))
	require.NoError(t, s.Check())
	s.Submitted()
	require.NoError(t, s.Check())
}

// TestAhead schedules each batch before the tokens of the one before it are known.
func TestAhead(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 8, MaxSeqs: 2, MaxLen: 16}, 8, 2)
	a, b := seq(2, 2), seq(9, 4)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	submit(t, s, [][3]int{{0, 0, 2}, {1, 0, 6}}, a, b)
	require.Equal(t, 3, a.Len())
	submit(t, s, [][3]int{{0, 2, 1}, {1, 6, 3}}, a, b) // a's token is not known yet
	s.Append(a, 5)
	require.Equal(t, []int{3, 4, 9, 10}, []int{len(a.Tokens), a.Len(), len(b.Tokens), b.Len()})
	submit(t, s, [][3]int{{1, 9, 1}}, a, b) // the token that is drawn for a is its last
	s.Append(a, 6)
	s.Append(b, 7)
	s.Remove(a)
	submit(t, s, [][3]int{{1, 10, 1}}, a, b)
	b.Tokens = append(b.Tokens, 7)
	s.Remove(b) // which ends: the batch under way has a row of it for nothing
	require.Equal(t, len(b.Tokens), b.Len())
	require.Equal(t, 8, s.pool.FreeBlocks())
	require.Empty(t, s.Schedule().Chunks)
}

// TestOnlyEndingSequences has nothing to schedule while sequences are queued.
func TestOnlyEndingSequences(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 8, MaxSeqs: 1, MaxLen: 16}, 8, 2)
	a, b := seq(2, 1), seq(3, 1)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	submit(t, s, [][3]int{{0, 0, 2}}, a, b)
	require.Empty(t, s.Schedule().Chunks)
	require.Equal(t, []int{1, 1}, []int{s.Running(), s.Waiting()})
	s.Append(a, 1)
	s.Remove(a)
	submit(t, s, [][3]int{{1, 0, 3}}, a, b)
}

// TestPreemptionWaits holds that Schedule need not be called where it would take
// the blocks of a sequence that a token is drawn for, and refuses to.
func TestPreemptionWaits(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 8, MaxSeqs: 2, MaxLen: 8}, 4, 2)
	a, b := seq(2, 6), seq(2, 6)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	submit(t, s, [][3]int{{0, 0, 2}, {1, 0, 2}}, a, b)
	for i := range 2 {
		require.False(t, s.WouldPreempt())
		submit(t, s, [][3]int{{0, 2 + i, 1}, {1, 2 + i, 1}}, a, b)
		s.Append(a, 0)
		s.Append(b, 0)
	}
	require.True(t, s.WouldPreempt(), "each needs a third block, of four")
	require.Panics(t, func() { s.Schedule() })

	s = newScheduler(t, Config{MaxTokens: 8, MaxSeqs: 2, MaxLen: 8}, 4, 2)
	a, b = seq(2, 6), seq(2, 6)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	submit(t, s, [][3]int{{0, 0, 2}, {1, 0, 2}}, a, b)
	for i := range 2 {
		submit(t, s, [][3]int{{0, 2 + i, 1}, {1, 2 + i, 1}}, a, b)
		s.Append(a, 0)
		s.Append(b, 0)
	}
	s.Append(a, 0)
	s.Append(b, 0)
	submit(t, s, [][3]int{{0, 4, 1}}, a, b)
	require.Equal(t, uint64(1), s.Preemptions())
}

// TestRevise drops what has ended since a batch was made.
func TestRevise(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 8, MaxSeqs: 3, MaxLen: 16}, 12, 2)
	a, b, c := seq(2, 6), seq(2, 6), seq(3, 6)
	require.NoError(t, s.Add(a))
	require.NoError(t, s.Add(b))
	submit(t, s, [][3]int{{0, 0, 2}, {1, 0, 2}}, a, b, c)
	require.NoError(t, s.Add(c))
	require.Equal(t, [][3]int{{0, 2, 1}, {1, 2, 1}, {2, 0, 3}}, plan(s.Schedule(), a, b, c))
	s.Append(a, 1)
	s.Remove(a)
	s.Append(b, 1)
	got := s.Revise()
	require.Equal(t, [][3]int{{1, 2, 1}, {2, 0, 3}}, plan(got, a, b, c))
	require.Equal(t, 4, got.Tokens)
	s.Done()
	require.Equal(t, []int{3, 3}, []int{b.Computed(), c.Computed()})
	require.NoError(t, s.Check())

	s.Append(b, 1)
	s.Append(c, 1)
	s.Schedule()
	s.Failed(b)
	require.Empty(t, s.Revise().Chunks, "c has lost its blocks")
	require.Equal(t, []int{0, 1}, []int{s.Running(), s.Waiting()})
}

// TestReviseKnowsBlocks has a batch wait for the token that fills a block.
func TestReviseKnowsBlocks(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 8, MaxSeqs: 3, MaxLen: 16, PrefixCaching: true}, 12, 2)
	a := prompt(0, 3, 9)
	require.NoError(t, s.Add(a))
	submit(t, s, [][3]int{{0, 0, 3}}, a)
	require.Equal(t, [][3]int{{0, 3, 1}}, plan(s.Schedule(), a))
	s.Append(a, 7)
	require.Len(t, s.Revise().Chunks, 1)
	s.Done()
	s.Append(a, 8)
	b := &Seq{Tokens: []int32{0, 1, 2, 7, 9}, Limit: 9}
	require.NoError(t, s.Add(b))
	submit(t, s, [][3]int{{0, 4, 1}, {1, 4, 1}}, a, b)
	require.Equal(t, 4, b.Cached())
}

// TestPrefixesAhead finds what a sequence has computed and is computing, once its
// tokens are known.
func TestPrefixesAhead(t *testing.T) {
	for _, window := range []int{0, 1, 2, 9} {
		s := newScheduler(t, Config{MaxTokens: 32, MaxSeqs: 8, MaxLen: 32, Window: window, PrefixCaching: true}, 32, 2)
		a := prompt(0, 3, 9)
		require.NoError(t, s.Add(a))
		submit(t, s, [][3]int{{0, 0, 3}}, a)
		submit(t, s, [][3]int{{0, 3, 1}}, a) // fills the second block, with a token that is not known
		find := func(blocks int) {
			t.Helper()
			q := &Seq{Tokens: append(append([]int32(nil), a.Tokens...), 60, 61, 62), Limit: 20}
			q.Hash(2)
			m := s.find(q)
			require.Equal(t, blocks, m.End(), "with a window of %d", window)
		}
		find(1)
		s.Append(a, 7)
		if window != 1 { // a position that sees itself alone: the block is given up as soon as it is filled
			find(2)
		}
		submit(t, s, [][3]int{{0, 4, 1}}, a)
		a.Tokens = append(a.Tokens, 8)
		s.Remove(a) // it ends with that: position 4 was computed for nothing
		require.Equal(t, 32, s.pool.FreeBlocks())
		require.NoError(t, s.Check())
		if window != 1 {
			find(2)
		}
	}
}

// TestStaleRowsBlock has a sequence end just where its stale row fills a block:
// nobody finds that block, and who gets it is found by its own key.
func TestStaleRowsBlock(t *testing.T) {
	s := newScheduler(t, Config{MaxTokens: 32, MaxSeqs: 8, MaxLen: 32, PrefixCaching: true}, 32, 2)
	a := prompt(0, 3, 9)
	require.NoError(t, s.Add(a))
	submit(t, s, [][3]int{{0, 0, 3}}, a)
	submit(t, s, [][3]int{{0, 3, 1}}, a)
	filled := a.Blocks()[1]
	a.Tokens = append(a.Tokens, 7)
	s.Remove(a)
	b, again := prompt(30, 2, 9), prompt(0, 3, 9)
	again.Tokens = append(again.Tokens, 7, 8)
	require.NoError(t, s.Add(b))
	require.NoError(t, s.Add(again))
	submit(t, s, [][3]int{{0, 0, 2}, {1, 2, 3}}, b, again)
	require.Equal(t, filled, b.Blocks()[0], "freed last, so taken first")
	same := prompt(30, 3, 9)
	require.NoError(t, s.Add(same))
	submit(t, s, [][3]int{{0, 2, 1}, {1, 5, 1}, {2, 2, 1}}, b, again, same)
	require.Equal(t, filled, same.Blocks()[0])
}

func TestDecodeAheadAllocatesNothing(t *testing.T) {
	for _, window := range []int{0, 100} {
		s := decoding(t, 16, window)
		s.Schedule()
		s.Submitted()
		require.Zero(t, testing.AllocsPerRun(1000, func() {
			if s.WouldPreempt() {
				t.Fatal("no blocks")
			}
			b := s.Schedule()
			s.Submitted()
			for _, c := range b.Chunks {
				s.Append(c.Seq, 0)
			}
		}))
	}
}
