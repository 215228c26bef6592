package engine

// Stats is a snapshot of an engine; counts are since New.
type Stats struct {
	Running        int    // sequences admitted and not ended
	Waiting        int    // requests not admitted, or preempted and not admitted again
	KVBlocks       int    // cache blocks
	KVBlockSize    int    // tokens of each
	KVBlocksUsed   int    // of these, held by sequences
	Steps          uint64 // forward passes, failed ones among them
	PromptTokens   uint64 // prompt tokens of requests that got their first token
	OutputTokens   uint64 // tokens sampled
	PrefixQueries  uint64 // prompt tokens that were looked for in the prefix cache
	PrefixHits     uint64 // of these, found
	Preemptions    uint64 // times a sequence lost its blocks and had to be computed again
	StopFinishes   uint64 // requests that ended with FinishStop
	LengthFinishes uint64 // requests that ended with FinishLength
	AbortFinishes  uint64 // requests that ended with FinishAbort
	Failures       uint64 // requests that ended with an error
}

// show makes the engine's figures the ones that Stats returns. It is called
// before streams are told: who has a request's last token finds it counted.
func (e *Engine) show() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.showLocked()
}

func (e *Engine) showLocked() {
	e.tally.Running, e.tally.Waiting = e.sched.Running(), e.sched.Waiting()
	e.tally.KVBlocks, e.tally.KVBlocksUsed = e.pool.Blocks(), e.pool.Blocks()-e.pool.FreeBlocks()
	e.tally.KVBlockSize, e.tally.Preemptions = e.pool.BlockSize(), e.sched.Preemptions()
	prefix := e.sched.PrefixStats()
	e.tally.PrefixQueries, e.tally.PrefixHits = prefix.Queries, prefix.Hits
	e.stats = e.tally
}

// count adds an ended request.
func (t *Stats) count(f Finish, err error) {
	switch {
	case err != nil:
		t.Failures++
	case f == FinishStop:
		t.StopFinishes++
	case f == FinishLength:
		t.LengthFinishes++
	case f == FinishAbort:
		t.AbortFinishes++
	}
}
