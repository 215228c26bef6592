package engine

// Stats is a snapshot of an engine; counts are since New.
type Stats struct {
	Running       int    // sequences admitted and not ended
	Waiting       int    // requests not admitted, or preempted and not admitted again
	KVBlocks      int    // cache blocks
	KVBlocksUsed  int    // of these, held by sequences
	Steps         uint64 // forward passes
	PromptTokens  uint64 // prompt tokens of requests that got their first token
	OutputTokens  uint64 // tokens sampled
	Preemptions   uint64 // sequences that lost their blocks and were computed again
	StopFinishes  uint64 // requests that ended with FinishStop
	LengthEnds    uint64 // requests that ended with FinishLength
	AbortFinishes uint64 // requests that ended with FinishAbort
	Failures      uint64 // requests that ended with an error
}
