// Package sample draws one token from a row of logits. The token depends on
// the logits, the parameters, the seed and its index in the output, and on
// nothing else: there is no generator that advances, so neither the batch a
// request runs in, nor preemption, nor the thread can change it.
//
// Sampler.Sample, in this order, which is vLLM's:
//
//  1. finite    a NaN or an infinity ends it with ErrNotFinite
//  2. mask      ids at or above Vocab, and Banned ones, leave
//  3. greedy    Temperature 0: the largest logit; of equals the lowest id
//  4. topK      ids below the k-th largest logit leave; its equals stay
//  5. softmax   weight exp((logit − largest)/Temperature) of each that is left
//  6. topP      the smallest set of the heaviest ids whose share reaches
//     TopP stays; of equal weights the lower id is the heavier
//  7. draw      the inverse of their cumulative weights, in order of ids, at a
//     uniform number in [0, 1) from Philox (Seed, Index)
//
// Temperature comes before top-k in vLLM; it keeps the order of the logits, so
// top-k can look at them first and leave the exponentials of the others out.
// Penalties and logit_bias change logits between 2 and 3, min_p takes ids out
// between 5 and 6.
//
// Nothing is sorted. Steps 4 and 6 look for the value to cut at in histograms
// of the numbers' leading bits (cut.go), which costs three passes over the
// candidates at most, however flat the distribution is.
package sample
