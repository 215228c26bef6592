// Package kernels defines the operations a language model is made of, the
// descriptor of one engine step that they work on, and the contract every
// device keeps. Its sub-packages implement it:
//
//	ref   plain Go, float64 accumulation: the truth for every test, and the fallback
//	cpu   C with intrinsics through cgo, instruction set picked at run time
//	cuda  NVIDIA GPUs, by a library of kernels that is loaded at run time
//
// draw.go has what only some of them can do: draw tokens where the logits are
// (Drawer), and run a step's operations again at once (Grapher).
//
// kerneltest is the test that every device passes. The functions that check a
// step (step.go), shapes (shapes.go) and tensors (tensor.go) are for all of them.
//
// # Dimension letters
//
// The same letters name the same sizes everywhere in the engine.
//
//	T  tokens (rows) in the step        F  feed-forward width
//	S  sequences in the step            V  vocabulary
//	R  rows of the step that need       L  layers
//	   logits                           B  tokens in a KV block
//	D  model width                      P  positions a model was made for
//	H  query heads                      N  output features of a matrix
//	G  key/value heads (G divides H)    K  input features of a matrix
//	E  width of one head
//
// # A step, in the order a model calls it
//
//  1. Begin hands the Step over; the device may copy it wherever it likes.
//  2. Embed        out[t,:] = tokens[Tokens[t],:] (+ positions[Positions[t],:])
//  3. Norm         x += delta; out = norm(x)·w (+ b)
//     RMS:  x / sqrt(mean(x²) + ε);  layer norm: (x − mean) / sqrt(var + ε), biased variance
//  4. MatMul       out[t,n] = Σₖ x[t,k]·W[n,k] (+ bias[n])
//  5. StoreKV      rotates the first Dims of every query and key head by its
//     position, in place: with c, s = cos, sin of pos·freq[i], i < Dims/2,
//     (a[i], a[i+Dims/2]) → (a[i]·c − a[i+Dims/2]·s, a[i+Dims/2]·c + a[i]·s),
//     then writes each token's keys and values to its slot of the cache, of all
//     rows before the layer's Attention reads any: a sequence may have blocks
//     that another fills in the same step
//  6. Attention    out = softmax(q·Kᵀ·scale)·V over positions max(0, p−Window+1) … p
//     of the token's own sequence (Window 0: all of them); query head h reads
//     key/value head h/(H/G). Blocks that the window has passed may be Freed
//     in the step: they are never read, whoever owns their memory by now
//  7. Activate     plain: out = f(x); gated: out = f(x[:, :F])·x[:, F:]
//  8. Add          x += y
//  9. Gather       out[i,:] = x[Out[i],:] + delta[Out[i],:]
//  10. End         waits until everything is done and reports the step's first error
//  11. Read        gives rows in host memory
//
// Activations are float32. A device opened as bfloat16 keeps matrices and the
// KV cache in bfloat16, rounds a MatMul's input rows and Attention's queries
// (behind their rotation) to bfloat16 (nearest, ties to even), accumulates in
// float32 and keeps everything else in float32. It may also round Attention's
// weights, e^(score − the largest of those it looks at together), before they are
// multiplied by values; their sum, which divides, is then that of the rounded ones.
// One opened as float16 does the same with float16; what is too large for that is
// infinite. Opened as float32 it rounds nothing.
//
// What a row of the result holds never depends on what the other rows of the step
// are: a device reduces every row in an order fixed by the shapes alone. On ref and
// cpu it does not depend on how many they are either. On cuda it may, in the last
// bits: few rows are multiplied by other kernels than many, and attention cuts a
// context in as many pieces as fill the GPU (package kerneltest, Traits).
package kernels
