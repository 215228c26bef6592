package main

import (
	"servebench/kernels"
	"servebench/serving/models"
)

// layout says what a device takes to keep something, in bytes.
type layout interface {
	// allocation is what a piece of memory of so many bytes takes.
	allocation(bytes int64) int64
	// matrix is the elements that a matrix is kept in.
	matrix(rows, cols int64) int64
	// block is a KV block of all layers.
	block(a kernels.Attn, layers, tokens int, dtype kernels.DType) int64
	// scratch is what the largest step takes beside the model's buffers, when no
	// matrix has more than widest columns.
	scratch(m *models.Model, widest int64, dtype kernels.DType) int64
	// loading is what loading takes beside the weights, when the checkpoint's parts
	// of a weight take up to largest bytes.
	loading(largest int64) int64
}

const hugePage = 2 << 20

// hostLayout is package kernels/cpu's.
type hostLayout struct{}

// Matrices are packed in panels of 16 outputs, bfloat16 also in pairs of inputs
// (kernels/cpu/pack.c); large pieces of memory end with a whole huge page. A block
// takes the memory of whole units of 16 tokens (kernels/cpu/attention.h).
const (
	panel      = 16
	unitTokens = 16
)

func (hostLayout) allocation(bytes int64) int64 {
	if bytes < hugePage {
		return roundUp(bytes, 4096)
	}
	return roundUp(bytes, hugePage)
}

func (hostLayout) matrix(rows, cols int64) int64 { return roundUp(rows, panel) * roundUp(cols, 2) }

func (hostLayout) block(a kernels.Attn, layers, tokens int, dtype kernels.DType) int64 {
	return roundUp(int64(tokens), unitTokens) * 2 * int64(layers) * int64(a.KVHeads) * int64(a.HeadDim) * int64(dtype.Size())
}

// scratch is what the engine keeps of a step: its descriptor, of which the device
// has a copy.
func (hostLayout) scratch(m *models.Model, _ int64, _ kernels.DType) int64 {
	T, R := int64(m.MaxTokens()), int64(m.MaxSeqs())
	blocks := int64((m.MaxModelLen() + m.KVShape().BlockSize - 1) / m.KVShape().BlockSize)
	return 2 * 4 * (3*T + R*(blocks+3) + 1)
}

// loading: the parts of a weight in buffers of a checkpoint (weights.Recycler) that
// may have held larger ones before, or twice those that are read and put in order;
// mapped files have their own bound (weights/mapped).
func (hostLayout) loading(largest int64) int64 { return 2*largest + 128<<20 }

// gpuLayout is package kernels/cuda's (kernels.h).
type gpuLayout struct{}

// The rows of a matrix are padded to 16 elements, a head of the cache to 8. A step
// cuts contexts in up to 64 pieces, of which it keeps sums (attention_decode.cu). A
// weight goes to the GPU by two pieces of 16 MiB (load.cu). What the driver keeps
// of captured steps, and cuBLASLt loads when it is first used, nobody tells.
const (
	gpuColumns = 16
	gpuHead    = 8
	gpuPieces  = 64
	gpuStage   = 16 << 20
	gpuDriver  = 128 << 20
)

// allocation: the driver hands out memory in pages of 2 MiB, which small pieces share.
func (gpuLayout) allocation(bytes int64) int64 {
	if bytes < hugePage/2 {
		return roundUp(bytes, 512)
	}
	return roundUp(bytes, hugePage)
}

func (gpuLayout) matrix(rows, cols int64) int64 { return rows * roundUp(cols, gpuColumns) }

func (gpuLayout) block(a kernels.Attn, layers, tokens int, dtype kernels.DType) int64 {
	return int64(tokens) * 2 * int64(layers) * int64(a.KVHeads) * roundUp(int64(a.HeadDim), gpuHead) * int64(dtype.Size())
}

// scratch is a large product's input in the device's dtype, what decoding keeps of
// the pieces of contexts, and the sums that tokens are drawn by.
func (gpuLayout) scratch(m *models.Model, widest int64, dtype kernels.DType) int64 {
	T, R, a := int64(m.MaxTokens()), int64(m.MaxSeqs()), m.Spec().Attn
	rounded := T * roundUp(widest, gpuColumns) * int64(dtype.Size())
	pieces := R * int64(a.Heads) * gpuPieces * (4*roundUp(int64(a.HeadDim), gpuHead) + 8)
	draws := R * int64(m.VocabSize())
	return rounded + pieces + draws + gpuDriver
}

func (gpuLayout) loading(int64) int64 { return 2 * gpuStage }
