// Package sched decides which tokens of which sequences the next step
// computes. It is plain accounting over package kvcache: no device, no clock,
// no goroutine, so every decision can be replayed in a test.
//
// A sequence's tokens are its prompt and, behind it, what was sampled. Computed
// counts those whose keys and values are in the cache. Prefill, decode and the
// repair of a preempted sequence are then one thing: compute what is left, and
// sample from the last row when nothing is left behind it.
//
//  1. Add queues a sequence behind the others, or refuses one that never fits.
//  2. Schedule makes the next Batch within MaxTokens rows, and MaxPrefill of b and
//     c together where there is any of a:
//     a. sequences that lack one token (they decode), oldest first. One that
//     needs a block when none is free takes those of the newest running
//     sequence, which goes back to the head of the queue (preemption by
//     recompute, as vLLM's), itself if it is the newest;
//     b. the sequence in the middle of its prompt, as much of it as rows are
//     left (chunked prefill). There is at most one, the newest that runs;
//     c. waiting sequences in order of arrival, while rows, MaxSeqs and blocks
//     last. None overtakes the first that does not fit.
//     A prompt of which every row's logits are wanted (Seq.LogitsTo) goes in
//     chunks of the rows of logits that the running sequences leave.
//  3. The engine computes the batch; Done counts its tokens as computed and lets
//     go of blocks that the window has passed. The sequences of one that could not
//     be computed are taken out by Failed.
//  4. The engine has each sampled token appended to its sequence (Append), or
//     removes the sequence that ends with it (Remove).
//
// # One step ahead
//
// A device that draws tokens itself takes a batch before the one before it is
// computed. Submitted then stands in the place of Done: the tokens of the batch
// count as computed, and of each sequence that it draws a token for one more counts
// that nobody knows yet (Seq.Len), which the next batch computes all the same. What
// is known without it is acted on: a sequence whose drawn token is the last one that
// it may have is in no batch more. What is not, is made good: Append tells the token
// one batch later, and if the sequence ends with it, that batch has computed a row of
// it for nothing.
//
// Such a stale row does no harm, as the device computes batches in their order. It
// writes behind all tokens that were known when its batch was scheduled, so to a
// block that is not full: nobody shares it and it has no key, as a block gets one
// only from a sequence that goes on and knows all of its tokens. Once the end is
// known, Remove frees the block, and whoever takes it then writes in a later batch,
// and reads nothing there that it has not written. So no block that can be found is
// ever written by a stale row, and no sequence reads what one wrote.
//
// Preemption waits for the tokens (WouldPreempt), as does a batch whose sampling
// needs them; what has ended meanwhile then leaves it (Revise).
//
// # Prefix cache
//
// With PrefixCaching, a sequence that is admitted begins behind the longest
// beginning whose keys and values are still in the cache, whoever computed them
// (kvcache.Pool.Find); one that was preempted so finds its own. At least the last
// token is computed, for its logits, and every row whose logits are wanted. A
// block is known as soon as a batch has all of its tokens: who finds it is in the
// same batch, where all rows are written before any is read, or in a later one.
//
// # Window
//
// With a Window a sequence holds the blocks that its next token sees, and in its
// prompt those of one chunk more: SeqBlocks, however long it is. It takes them
// when it is admitted; later chunks go into as many as its window has passed.
// So MaxLen is not bounded by the pool, once that holds a window.
//
// # The gap between two tokens
//
// A sequence that decodes has a row in every step until it is preempted, so the
// time between two of its tokens is that of one step: of MaxSeqs + MaxPrefill rows
// at most, however long the prompts are that are read meanwhile and however many
// they are. A step in which nobody decodes may have MaxTokens, as it keeps nobody
// waiting; who ends his prompt in it decodes from the next one on.
//
// # Why nobody waits for ever
//
// All running sequences arrived before all waiting ones, and the oldest loses
// its blocks to nobody: Add refused it unless the whole pool can hold it, or its
// window and a token, so it ends, and then the next is the oldest. It has a row
// in every step: MaxTokens is at least MaxSeqs, so that decoding rows never use
// up a step, and the one in the middle of its prompt is the newest, so that if
// it is the oldest it is alone and all blocks are its. While others run, they
// may get the blocks that its window passed before it does (decoding comes
// first): its chunk is then smaller, or waits, and nobody is admitted meanwhile.
//
// A sequence is admitted only when there are free blocks for all of its tokens,
// or its window and a chunk, and one more for every sequence that runs already;
// otherwise two sequences could preempt each other at every step, each undoing
// the other's prefill.
package sched
