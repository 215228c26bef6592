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
//  2. Schedule makes the next Batch within MaxTokens rows:
//     a. sequences that lack one token (they decode), oldest first. One that
//     needs a block when none is free takes those of the newest running
//     sequence, which goes back to the head of the queue (preemption by
//     recompute, as vLLM's), itself if it is the newest;
//     b. sequences in the middle of their prompt, oldest first, as much of it
//     as rows are left (chunked prefill);
//     c. waiting sequences in order of arrival, while rows, MaxSeqs and blocks
//     last. None overtakes the first that does not fit.
//     A prompt of which every row's logits are wanted (Seq.LogitsTo) goes in
//     chunks of the rows of logits that the running sequences leave.
//  3. The engine computes the batch; Done counts its tokens as computed.
//  4. The engine appends each sampled token to its sequence, or calls Remove.
//
// Why nobody waits for ever. All running sequences arrived before all waiting
// ones, and the oldest loses its blocks to nobody: Add refused it unless the
// whole pool can hold it, so it ends, and then the next is the oldest.
// MaxTokens is at least MaxSeqs, so that decoding rows never use up a step while
// a prompt waits among them.
//
// A sequence is admitted only when blocks for all of its tokens are free and one
// more for every sequence that runs already; otherwise two sequences could
// preempt each other at every step, each undoing the other's prefill.
package sched
