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
//  3. forward   describe turns the batch into a kernels.Step, Model.Forward computes it
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
// # A model that draws
//
// A GPU draws tokens where the logits are (Drawer), so that nothing but their ids
// leaves it, and takes a step while it computes the one before. Steps 3 to 5 are then
// those of two batches: submit (step.go) describes batch n+1, in which a sequence that
// decodes has a token that nobody on the host knows yet and is named by its row of
// batch n (Stream.row, kernels.Step.From); then land waits for the tokens of n, and
// emit settles them while the device computes n+1. So long as the host takes less time
// for it than the device for a step, the device does not wait for the host: it takes
// 11 µs for 16 requests, 50 for 64 and 240 for 256 of 5000 tokens each, most of which
// is to list their blocks (BenchmarkDrawnStep, a Zen 5 core), without the readers.
//
// What the host cannot know ahead it makes good. A request that ends with a token of
// n, or is cancelled, has a row in n+1 that is settled with nobody (package sched says
// why the block that it writes to can be another's by then). One that reaches
// max_tokens with its token of n is known to, and has no row in n+1. When a sequence is
// about to lose its blocks, its token is waited for first: to be computed again it
// must be known.
//
// Requests that need their logits on the host (log-probabilities, penalties, biases,
// allowed ids, typical_p, min_tokens as long as it bans something) are what the model
// cannot draw for. A batch with a row of such a request, or with no token to draw,
// waits for the step under way, loses the sequences that have ended with it
// (sched.Revise), and goes the way of steps 3 to 5: the logits of those requests, and
// no others, come to the host, which samples from them, and the model draws for the
// rest (Drawer.Both). A token is the same, whichever way its step went: a device draws
// as package sample does, but for the rounding of sums.
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
// A Forward that fails or panics ends the requests of its step with ErrForward, as
// does a Submit; a Drawn that does, those of both steps under way, as the second has
// read what the first left.
// The engine goes on: the next step is with other requests. After maxFaults
// such steps in a row, or a panic of its own, the engine is dead: every
// request ends with ErrDead, and Healthy says why. Logits that are not finite
// end only the request that they belong to. Nothing that such requests left in
// the cache is found by others.
package engine
