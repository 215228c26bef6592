// Package ref implements kernels.Device in plain Go. It is the truth that
// every other device is tested against, and what a server without cgo runs on.
//
//  1. New opens a device; Load decodes a checkpoint's tensors to float32 once,
//     rounding matrices to bfloat16 or float16 when the device is opened as that
//     (dot products then see exactly the values that such a device sees).
//  2. An operation checks its shapes with the functions of package kernels and
//     then computes every element in float64, rounding once, to float32, when
//     it is stored. ops.go has one function an operation, in the order of the
//     equations in package kernels.
//  3. spread (in parallel.go) splits the elements of a result over GOMAXPROCS
//     goroutines. One goroutine computes an element from first to last term,
//     so the split never shows in the result.
package ref
