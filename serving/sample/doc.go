// Package sample draws one token from a row of logits. The token depends on
// the logits, the parameters, the seed, its index in the output and, where
// penalties are asked for, the tokens before it, and on nothing else: there is
// no generator that advances, so neither the batch a request runs in, nor
// preemption, nor the thread can change it.
//
// Sampler.Sample, in this order, which is that of vLLM's V1 sampler:
//
//  1. finite    a NaN or an infinity ends it with ErrNotFinite
//  2. mask      ids at or above Vocab, and those not in Allowed, leave
//  3. bias      Bias is added; Banned ids (vLLM's min_tokens) leave
//  4. penalise  repetition over prompt and output, then frequency and presence
//     over the output: history.go keeps the counts, adjust.go applies them
//  5. greedy    Temperature 0: the largest logit; of equals the lowest id
//  6. topK      ids below the k-th largest logit leave; its equals stay
//  7. softmax   weight exp((logit − largest)/Temperature) of each that is left;
//     less than MinP, which is relative to the largest's weight 1, leaves
//  8. topP      the smallest set of the heaviest ids whose share of what steps
//     6 and 7 left reaches TopP stays; of equal weights the lower id is the heavier
//  9. typical   with TypicalP, the candidates of the most expected surprise stay;
//     vLLM has no such step, TGI has it here
//  10. draw     the inverse of their cumulative weights, in order of ids, at a
//     uniform number in [0, 1) from Philox (Seed, Index)
//
// In vLLM temperature and min_p come before top_k. Both keep the order of the
// logits, and min_p and top_k each keep a beginning of it: whichever comes
// first, the shorter beginning is left, and top_k leaves the exponentials of the
// others out. A masked logit is −Inf, which no bias or penalty changes, so the
// order of masks among them is of no matter.
//
// A GPU takes steps 1, 5 to 8 and 10 where the logits are, with Vocab of step 2, and
// draws the same tokens (kernels/cuda/draw.cu, which TestDeviceDraws compares).
//
// Sampler.Logprobs tells the log-probabilities of the same row as the model gave
// it, before steps 2 to 10 (vLLM's logprobs_mode raw_logprobs).
//
// No row is sorted. Steps 6, 8 and 9 look for the value to cut at in histograms of
// the numbers' leading bits (cut.go), which costs three passes over the
// candidates at most, however flat the distribution is; Logprobs keeps the
// likeliest ids in a heap.
package sample
