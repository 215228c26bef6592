// Package engine runs requests on a model with continuous batching: every step
// computes what the running requests need next, whoever they are, and requests
// join and leave between steps.
//
// One goroutine, locked to its thread, owns the scheduler and the device and
// repeats:
//
//  1. intake    take the requests submitted and cancelled since the last step,
//     and forget the prefix cache if that was asked for
//  2. schedule  sched.Scheduler.Schedule picks the tokens to compute; with none,
//     wait for a request
//  3. forward   fill turns the batch into a kernels.Step, Model.Forward computes it
//  4. sample    draw a token from every row of logits, on several cores when
//     there are several rows, and take its log-probabilities if asked for
//  5. emit      append it to its sequence, end those that are done and free
//     their blocks, then wake the readers
//
// What is left for the other cores overlaps the next forward: a reader that was
// woken decodes its token and writes its event while the next step is computed.
// Steps 1, 2 and 5 take 15 to 30 µs for up to 16 requests on a Zen 5 core, most
// of that to wake the first reader. Step 4 is the one that shows: it needs the
// whole of a step's logits and the next step needs its tokens, so it overlaps
// nothing (samplers.go has what a row costs).
//
// Submit and Stream are the other side, for any goroutine. A stream's tokens
// are published in the memory of its own sequence, which has room for MaxTokens
// from the start: nothing is queued and a slow reader holds up nobody.
//
// What a request generates depends on its prompt, parameters and seed. It is
// the same alone and in any batch, with any chunk size, after a preemption, and
// with the prefix cache or without it, so far as Model.Forward computes a row
// independently of the others.
//
// # Prefix cache and windows
//
// With Config.PrefixCaching a prompt's beginning that is still in the cache is
// not computed again (packages sched and kvcache). Submit hashes the prompt in
// the request's own goroutine; Stream.CachedTokens and Stats tell what was found.
// A model with a Window gets steps in which blocks that it has passed are
// kernels.Freed, and prompts longer than the whole cache.
//
// # Log-probabilities
//
// They are the model's own, before anything that sampling does to a row
// (package sample), which leaves the row as it is: output is the same with and
// without them. Those of a prompt (PromptLogprobs) come from every row of it, the
// row of a token giving the next token's. A step has as many rows of logits as
// sequences may run, so such a prompt is computed in chunks of what the others
// leave (sched), its tokens are not taken from the prefix cache, and those that
// are computed again after a preemption are not scored again.
//
// # Faults
//
// A Forward that fails or panics ends the requests of its step with ErrForward.
// The engine goes on: the next step is with other requests. After maxFaults
// such steps in a row, or a panic of its own, the engine is dead: every
// request ends with ErrDead, and Healthy says why. Logits that are not finite
// end only the request that they belong to. Nothing that such requests left in
// the cache is found by others.
package engine
