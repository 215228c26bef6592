// Package cuda implements kernels.Device, kernels.Drawer and kernels.Grapher for
// NVIDIA GPUs. The kernels are CUDA C++ (the .cu files here), built by `make cuda`
// into a library with a C ABI (kernels.h). This package loads it when it is asked
// for a GPU: a program that has the package builds and runs everywhere, with cgo
// and without, and New says what is missing.
//
// # On the Go side
//
//  1. New finds the library and loads it (library.go), checks that it is of this
//     program's version, and opens the GPU (device.go). Every reason not to has an
//     error of its own (errors.go).
//  2. Load hands a checkpoint's tensors to the library, which converts them on the
//     GPU (load.cu): they go there in pieces of 16 MiB of page-locked memory, so that
//     the host needs no more, while the next piece is read.
//  3. Begin (step.go) checks the step and passes it on. The operations (ops.go) check
//     shapes, as every device does, and make one call each, which queues one or two
//     kernels. End waits, Read copies.
//  4. Draw, Submit and Drawn (draw.go) leave the logits on the GPU, and let the host
//     prepare the next step while this one runs.
//  5. Capture and Decode (graph.go) keep a decoding step's operations and run them
//     again by one call, filled up with rows that store nothing and see nothing.
//
// Calls go through purego, with everything that they point to in the Device, whose
// memory stays where it is: a step leaves nothing for the collector. A context is
// used from any thread, but by one at a time.
//
// # On the GPU's side
//
//	context.cu, host.cuh    opening, memory, errors   load.cu      weights
//	step.cu                 steps and drawn tokens    graph.cu     captured steps
//	matmul.cu               which of the two          limits.cu    what the GPU does at most
//	matmul_small.cu         up to 16 rows: bound by reading the matrix
//	matmul_large.cu         more: cuBLASLt
//	attention.cu            which of the three
//	attention_decode.cu     one row a sequence: the context is cut in pieces
//	attention_prefill.cu    several: tensor cores     attention_simple.cu   float32, odd shapes
//	rows.cu                 Embed, Norm, Activate, Add, Gather
//	store_kv.cu             StoreKV                   draw.cu      Draw
//
// internal.cuh has what they share, platform.cuh what they are written in: CUDA, or
// the simulated device of sim, for which `make cuda-sim` builds the same sources.
// The tests of this package run on that, on the GPU where $SERVEBENCH_CUDA_LIBRARY
// names the real library, and are skipped where neither was built.
//
// Each file's header says what its kernels compute, in what layout, and what bounds
// them. README.md says how the library is built, what was shown of it without a GPU,
// and what was not.
//
// # What a row depends on
//
// A step's row has the same bits whatever the other rows are, but not however many
// they are. Up to 16 rows are multiplied by kernels of their own, which give a row
// the same bits whether it is alone or one of 16; more are cuBLASLt's. Attention
// depends on no other sequence, but on whether a row's own has one row in the step,
// whose context is cut in pieces, or several, for which there is another kernel. Rounded
// sums then differ in the last bits. kernels/kerneltest holds all of that.
package cuda
