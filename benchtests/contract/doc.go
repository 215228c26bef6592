// Package contract finds out whether the figures of two frameworks may stand
// beside each other: whether both were fed the same tokens, ran the same weights
// in the same type, wrote as much, and say the same when nothing is left to
// chance.
//
// # Pipeline
//
//  1. CheckPrompts asks the server which ids it makes of a task's prompts, and
//     sets them beside those of the suite's own tokenizer; where a server does
//     not tell, it sets the counts of answers to other prompts beside the suite's.
//  2. RunProbe sends ten fixed prompts, greedily, one after the other.
//  3. ReportedDtype asks the server what its weights are stored in.
//  4. Between compares what was found for two frameworks: SameWeights (weights.go)
//     the weights, sameDtype the types, Compare (probe.go) the answers.
//  5. Cold makes the prompts of a pass cold where a prefix cache is on: by
//     words of its own that every prompt begins with, and by Resetter.Reset.
//  6. When a pass is measured, Judge puts the terms together and adds the lengths
//     of its answers (lengths.go): what comes out is the results.Contract of the
//     pass, which every output shows.
//
// # The reference
//
// Prompts are compared with the suite's own tokenizer, for every framework. The
// other terms are compared with the first framework that the run measures the
// model on, or with that of another run (-reference). The reference's own rows
// keep what they are compared with by definition; the others' say whether they do.
//
// # Prompts
//
// Asked is about the measured prompts themselves, as a tokenizer warms no cache:
// at most SampleSize, evenly spaced over the draw, that of the first pass where
// every pass has its own. They are never sent to the
// model for it. Text is tokenized as the completion route does, special tokens
// included; what a chat template adds is seen in the counts, which the answers to
// the warm-up prompts give before the measurement and those to the measured
// prompts after it. Prompts are not sent as token ids in place of text: a server
// is measured with its tokenizer, as its users have it.
//
// # Weights
//
// The same files, by their hash, are the same weights; links in a converted
// folder lead to them. Two files of different formats are compared by their
// values (tensors.go): a digest of each tensor that does not depend on its name
// or on the order of its values, since GGUF has other names than safetensors,
// permutes the rows of llama's q and k, and transposes those of GPT-2. It says
// that both have the same numbers, which conversion by mistake or quantisation
// does not leave; not that nobody forged them.
//
// # Greedy answers
//
// Correct implementations round differently, and one token that comes out another
// way changes all that follow. A difference is therefore told, with its
// position, and breaks nothing, unless most answers differ from their first or
// second token on: that is another template, another model, or noise.
//
// # Lengths
//
// A framework that stops early looks fast. The medians of two frameworks'
// answers to the same case may differ by results.LengthTolerance. Beyond it the
// contract is broken, unless the answers were sampled and are too few to tell the
// difference from chance (results.CompareLengths).
package contract
