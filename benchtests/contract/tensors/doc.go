// Package tensors tells whether two sets of weights files hold the same numbers,
// whatever their format.
//
// # Pipeline
//
//  1. Open reads the headers of a model's files: safetensors.go, gguf.go. It
//     knows each tensor's type, size and place, and Weights.Dtype what most
//     values are stored in.
//  2. Weights.Digest reads the values and gives each tensor a digest of what
//     values it has how often (digest.go).
//  3. Compare looks for each tensor of one side on the other (compare.go).
//
// # What the digest passes over
//
// Names, shapes, the order of values, and the type they are stored in: GGUF has
// names of its own, keeps small tensors as float32, permutes the rows of llama's
// q and k projections for its own form of RoPE, and transposes GPT-2's matrices.
// All of that leaves the values of a tensor the same, each as often. Rounding to
// another type and quantisation do not, and neither does another model. A tensor
// with the same values at other places would pass; no conversion makes one.
package tensors
