package sched

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// workload drives a scheduler as the engine does and holds its promises at every
// step. It keeps the cache's content: what a slot holds stands for all tokens of
// its sequence up to its position, as keys and values do in a model.
type workload struct {
	t        testing.TB
	rng      *rand.Rand
	s        *Scheduler
	cfg      Config
	live     []*Seq
	computed map[*Seq]int // of those that run: tokens whose cache content the test believes in
	cells    []uint64     // by slot
	steps    int
	// The last Schedule preempted. Who loses its blocks may be let in again at
	// once: of what others still hold, or the cache, it needs fewer than it had.
	preempted bool
	found     int // tokens that were not computed

	// With ahead, a batch is scheduled before the tokens of the one before it are known.
	ahead  bool
	before []*Seq // of the batch under way
	drawn  []*Seq // of these, those that it draws a token for
	stale  int    // rows computed behind a sequence's end
	waited int    // batches that waited for the tokens before them

	passed int // most blocks that a sequence let go of
}

// histories returns, for every position of a sequence, what its slot holds.
func histories(tokens []int32) []uint64 {
	h := uint64(14695981039346656037) // FNV-1a, a token at a time
	out := make([]uint64, len(tokens))
	for i, id := range tokens {
		h = (h ^ uint64(id)) * 1099511628211
		out[i] = h
	}
	return out
}

// tokens are a sequence's, with the one that is drawn: it is known here what that
// will be.
func tokens(q *Seq) []int32 {
	all := slices.Clone(q.Tokens)
	for len(all) < q.Len() {
		all = append(all, next(all))
	}
	return all
}

// next is the token that follows others.
func next(tokens []int32) int32 { return int32(len(tokens) % 3) }

// step runs one step and removes what has ended. It reports whether there was
// anything to compute.
func (w *workload) step() bool {
	t := w.t
	if len(w.drawn) > 0 && w.s.WouldPreempt() {
		w.waited++
		if w.land(); len(w.live) == 0 {
			return false
		}
	}
	var decoding []*Seq
	for q := w.s.running.first; q != nil; q = q.next {
		if q.decodes() {
			decoding = append(decoding, q)
		}
	}
	before := w.s.Preemptions()
	b := w.s.Schedule()
	w.preempted = w.s.Preemptions() > before
	w.check()
	if len(b.Chunks) == 0 && len(w.drawn) > 0 {
		w.land()
		return false
	}
	require.NotEmpty(t, b.Chunks, "sequences are queued, but none can go on")
	decodes := 0
	for i, c := range b.Chunks { // they come first
		if i == decodes && slices.Contains(decoding, c.Seq) && c.Len == 1 {
			decodes++
		}
	}
	w.checkBatch(b, decodes)

	in := map[*Seq]bool{}
	for _, c := range b.Chunks {
		in[c.Seq] = true
	}
	for _, q := range decoding {
		require.True(t, in[q] || q.queue == &w.s.waiting, "a sequence that decodes was left out and not preempted")
	}
	for q := w.s.running.first; q != nil; q = q.next {
		// Others may have got the blocks that a window has passed.
		stalls := q == w.s.running.last && w.cfg.Window > 0 && w.s.chunk(q) == 0
		ends := q.drawn > 0 && q.Len() == q.Limit
		require.True(t, in[q] != ends || stalls, "a sequence runs but gets no row, or one behind its end")
	}
	w.checkAdmission()
	if w.rng.IntN(30) == 0 {
		w.fail(b)
		return true
	}
	submit := w.ahead
	if w.ahead && w.rng.IntN(4) == 0 { // a batch whose sampling needs the tokens before it
		submit = false
		w.land()
		if b = w.s.Revise(); len(b.Chunks) == 0 {
			return true
		}
		for _, c := range b.Chunks {
			require.Equal(t, &w.s.running, c.Seq.queue)
			require.LessOrEqual(t, c.Start+c.Len, len(c.Seq.Tokens), "a token is still unknown")
		}
	}
	w.compute(b, submit)
	for q := w.s.running.first; q != nil && q != w.s.running.last; q = q.next {
		require.Equal(t, 1, q.left(), "only the newest may be in the middle of its prompt")
	}
	return true
}

// compute ends a step, or submits it and ends the one before it.
func (w *workload) compute(b *Batch, submit bool) {
	var all, last []*Seq
	for _, c := range b.Chunks {
		w.computed[c.Seq] = c.Start + c.Len
		all = append(all, c.Seq)
		if c.Last {
			last = append(last, c.Seq)
		}
	}
	if submit {
		w.s.Submitted()
		w.land()
		w.before, w.drawn = all, last
		return
	}
	w.s.Done()
	for _, q := range last {
		w.s.Append(q, next(q.Tokens))
		if len(q.Tokens) == q.Limit {
			w.remove(q)
		}
	}
}

// land tells the tokens of the batch under way. Some sequences end sooner than
// could be known.
func (w *workload) land() {
	for _, q := range w.drawn {
		if q.queue == nil { // cancelled
			continue
		}
		require.Equal(w.t, &w.s.running, q.queue, "a sequence lost its blocks while a token of it was drawn")
		if len(q.Tokens)+1 < q.Limit && w.rng.IntN(20) > 0 {
			w.s.Append(q, next(q.Tokens))
			continue
		}
		if q.computed > len(q.Tokens) {
			w.stale++
		}
		w.remove(q)
	}
	w.before, w.drawn = nil, nil
}

// fail has the batch fail, and the one under way, which leaves anything in the
// cache of their sequences.
func (w *workload) fail(b *Batch) {
	failed := slices.Clone(w.before)
	for _, c := range b.Chunks {
		failed = append(failed, c.Seq)
	}
	size := w.s.pool.BlockSize()
	for _, q := range failed {
		for i, block := range q.Blocks() {
			if i >= q.table.Passed() {
				for slot := range size {
					w.cells[int(block)*size+slot] = w.rng.Uint64()
				}
			}
		}
	}
	if w.ahead { // who left since may have left blocks that it never filled
		w.s.ResetPrefixCache()
		for i := range w.cells {
			w.cells[i] = w.rng.Uint64()
		}
	}
	w.s.Failed(failed...)
	require.Zero(w.t, w.s.Running())
	for _, q := range failed {
		w.remove(q)
	}
	w.before, w.drawn = nil, nil
	clear(w.computed)
}

func (w *workload) check() {
	w.t.Helper()
	require.NoError(w.t, w.s.Check())
	for q := w.s.running.first; q != nil; q = q.next {
		held := len(q.Blocks()) - q.table.Passed()
		require.LessOrEqual(w.t, held, SeqBlocks(w.s.MaxLen(), w.cfg.Window, w.cfg.MaxTokens, w.s.pool.BlockSize()),
			"a sequence holds more than its window and a chunk")
		w.passed = max(w.passed, q.table.Passed())
	}
}

// checkBatch holds that every token is computed once, in a slot that is nobody
// else's, and sees its own sequence in all slots of its window; decodes first.
func (w *workload) checkBatch(b *Batch, decodes int) {
	t := w.t
	for q := w.s.waiting.first; q != nil; q = q.next { // preempted: what was computed is gone
		delete(w.computed, q)
	}
	rows, logits, partial, decoding := 0, 0, 0, true
	slots := map[int32]bool{}
	for _, c := range b.Chunks {
		w.checkStart(c)
		require.Positive(t, c.Len)
		require.Equal(t, c.Start+c.Len == c.Seq.Len(), c.Last)
		content := histories(tokens(c.Seq))
		for p := c.Start; p < c.Start+c.Len; p++ {
			slot := c.Seq.Slot(p)
			if slots[slot] {
				require.Fail(t, "two tokens of a step share a slot")
			}
			slots[slot] = true
			w.cells[slot] = content[p]
			if c.Wants(p) {
				logits++
			}
		}
		if first := w.s.waiting.first; first != nil {
			require.Less(t, c.Seq.order, first.order, "a sequence that waits was overtaken")
		}
		if c.Len > 1 {
			decoding = false
		} else if c.Last && w.computed[c.Seq] > 0 && !decoding {
			require.Fail(t, "a decode comes after a prefill")
		}
		if !c.Last && c.Seq.LogitsFrom >= c.Seq.LogitsTo {
			partial++
		}
		c.Seq.LogitsFrom = max(c.Seq.LogitsFrom, c.Start+c.Len)
		rows += c.Len
	}
	for _, c := range b.Chunks { // all rows are written: what do they see?
		content := histories(tokens(c.Seq))
		from := 0
		if w.cfg.Window > 0 {
			from = max(0, c.Start-w.cfg.Window+1)
		}
		for p := from; p < c.Start+c.Len; p++ {
			if content[p] != w.cells[c.Seq.Slot(p)] {
				require.Failf(t, "another sequence's", "position %d of a chunk from %d holds something else", p, c.Start)
			}
		}
	}
	require.Equal(t, rows, b.Tokens)
	require.LessOrEqual(t, rows, w.cfg.MaxTokens)
	if w.cfg.MaxPrefill > 0 && decodes > 0 {
		require.LessOrEqual(t, rows-decodes, w.cfg.MaxPrefill, "prompts hold up those that decode")
	}
	require.LessOrEqual(t, logits, w.cfg.MaxSeqs, "rows of logits")
	require.LessOrEqual(t, partial, 1, "two prompts are in the middle at once")
}

// checkStart holds that a chunk begins where the last one ended, or, just
// admitted, behind what was found in the prefix cache.
func (w *workload) checkStart(c Chunk) {
	t, q := w.t, c.Seq
	if done, ok := w.computed[q]; ok && (!w.preempted || c.Start == done) {
		require.Equal(t, done, c.Start, "a token is skipped or computed twice")
		return
	}
	if !w.cfg.PrefixCaching {
		require.Zero(t, c.Start)
	}
	require.Zero(t, c.Start%w.s.pool.BlockSize(), "a part of a block was found")
	require.Less(t, c.Start, len(q.Tokens), "the last token is always computed")
	if q.LogitsFrom < q.LogitsTo {
		require.LessOrEqual(t, c.Start, q.LogitsFrom, "a row of logits was left out")
	}
	w.found += c.Start
}

// checkAdmission holds that the first that waits does so for a reason.
func (w *workload) checkAdmission() {
	s, q := w.s, w.s.waiting.first
	if q == nil || s.running.len+s.extra == w.cfg.MaxSeqs || s.room() == 0 {
		return
	}
	m := s.find(q)
	fresh := min(s.pool.BlocksFor(len(q.Tokens)), m.Skip+s.due(q)) - m.End()
	require.Greater(w.t, fresh+m.Idle+s.running.len, s.pool.FreeBlocks(), "the first that waits would fit")
}

func (w *workload) remove(q *Seq) {
	w.s.Remove(q)
	w.live = slices.DeleteFunc(w.live, func(x *Seq) bool { return x == q })
	delete(w.computed, q)
}

// request is a random one; their prompts begin alike.
func (w *workload) request() *Seq {
	limit := 2 + w.rng.IntN(w.s.MaxLen()+4)
	q := seq(1+w.rng.IntN(limit-1), 0)
	q.Limit = limit
	family, same := int32(w.rng.IntN(3)), w.rng.IntN(2*len(q.Tokens))
	for i := range q.Tokens {
		q.Tokens[i] = int32(i%3) + 10*family
		if i >= same {
			q.Tokens[i] = w.rng.Int32N(100)
		}
	}
	if w.rng.IntN(4) == 0 {
		q.LogitsTo = len(q.Tokens) - 1
	}
	return q
}

// arrive adds a request, or reports that it never fits.
func (w *workload) arrive() (limit int) {
	q := w.request()
	if q.Limit > w.s.MaxLen() {
		require.ErrorIs(w.t, w.s.Add(q), ErrNeverFits)
		return 0
	}
	require.NoError(w.t, w.s.Add(q))
	w.live = append(w.live, q)
	return q.Limit
}

// run plays random arrivals and cancels until all have ended.
func (w *workload) run(requests int) {
	t, total := w.t, 0
	for requests > 0 || len(w.live) > 0 {
		for requests > 0 && (len(w.live) == 0 || w.rng.IntN(3) == 0) {
			requests--
			total += w.arrive()
		}
		if len(w.live) > 0 && w.rng.IntN(10) == 0 {
			w.remove(w.live[w.rng.IntN(len(w.live))])
			w.check()
		}
		if w.rng.IntN(40) == 0 {
			w.s.ResetPrefixCache()
		}
		if len(w.live) == 0 {
			continue
		}
		if w.step() {
			w.steps++
		}
		w.check()
		// The oldest gets a row in every step, so one sequence after another is
		// the slowest there is.
		require.LessOrEqual(t, w.steps, total, "more steps than tokens: no progress")
	}
	require.Equal(t, w.s.pool.Blocks(), w.s.pool.FreeBlocks(), "blocks were not returned")
	require.NoError(t, w.s.pool.Check())
}

// newWorkload makes one of random sizes.
func newWorkload(t testing.TB, rng *rand.Rand, ahead bool) *workload {
	maxSeqs := 1 + rng.IntN(12)
	w := &workload{t: t, rng: rng, ahead: ahead, computed: map[*Seq]int{}, cfg: Config{
		MaxSeqs: maxSeqs, MaxTokens: maxSeqs + rng.IntN(40), MaxLen: 8 + rng.IntN(120),
		Window: max(0, rng.IntN(60)-30), PrefixCaching: rng.IntN(3) > 0, MaxPrefill: max(0, rng.IntN(40)-20),
	}}
	blocks, size := 1+rng.IntN(40), 1+rng.IntN(9)
	w.s = newScheduler(t, w.cfg, blocks, size)
	w.cells = make([]uint64, blocks*size)
	return w
}

func TestRandomWorkloads(t *testing.T) {
	for _, ahead := range []bool{false, true} {
		runs := 250
		if testing.Short() {
			runs = 50
		}
		var steps, found, passed, longer, stale, waited int
		var preemptions uint64
		for seed := range uint64(runs) {
			w := newWorkload(t, rand.New(rand.NewPCG(seed, 1)), ahead)
			w.run(40)
			steps, preemptions, found, passed = steps+w.steps, preemptions+w.s.Preemptions(), found+w.found, max(passed, w.passed)
			stale, waited = stale+w.stale, waited+w.waited
			if w.s.MaxLen() > w.s.pool.Blocks()*w.s.pool.BlockSize() {
				longer++
			}
		}
		t.Logf("ahead %v: %d workloads, %d steps, %d preemptions, %d tokens found, up to %d blocks passed, %d with sequences longer than the cache, "+
			"%d stale rows, %d steps that waited", ahead, runs, steps, preemptions, found, passed, longer, stale, waited)
		require.Positive(t, preemptions, "the workloads never ran out of blocks")
		require.Positive(t, found, "nothing was found in the prefix cache")
		require.Positive(t, passed, "no window passed a block")
		require.Positive(t, longer, "no sequence could be longer than the cache")
		require.Equal(t, ahead, stale > 0)
		require.Equal(t, ahead, waited > 0)
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add(uint64(1), uint64(2), uint8(20), false)
	f.Add(uint64(87), uint64(35), uint8(50), false) // one is preempted and let in again by the same Schedule
	f.Add(uint64(87), uint64(35), uint8(50), true)
	f.Fuzz(func(t *testing.T, a, b uint64, requests uint8, ahead bool) {
		newWorkload(t, rand.New(rand.NewPCG(a, b)), ahead).run(int(requests % 64))
	})
}
