package main

import (
	"fmt"
	"math"

	"servebench/kernels"
	"servebench/serving/models"
	"servebench/serving/sched"
	"servebench/serving/weights"
)

// kvShare is the part of the memory that weights and activations leave which the
// KV cache takes at most when nothing else is asked for: half of it stays for
// everything else on the machine.
const kvShare = 2

// unitTokens is what the C kernels round a block's tokens up to: a block takes
// the memory of whole units (kernels/cpu/attention.h).
const unitTokens = 16

// blockBytes returns the bytes of a KV block of so many tokens, when a token
// takes tokenBytes.
func blockBytes(blockSize, tokenBytes int) int64 {
	units := (blockSize + unitTokens - 1) / unitTokens
	return int64(units) * unitTokens * int64(tokenBytes)
}

// kvBlocks returns how many blocks of o.blockSize tokens the KV cache gets, when
// a token takes tokenBytes and a sequence has at most context tokens, of which
// it sees window (0: all): those that --kv-cache-memory-bytes asks for, else
// enough for every sequence of a step to fill its context, or its window and a
// chunk, but no more than kvShare of the memory that is free beside the weights.
// One sequence has to fit.
func kvBlocks(o *options, context, window, tokenBytes int, free int64) (int, error) {
	block := blockBytes(o.blockSize, tokenBytes)
	perSeq := int64(sched.SeqBlocks(context, window, o.maxTokens, o.blockSize))
	must := fmt.Sprintf("--max-model-len is %d", context)
	if held := perSeq * int64(o.blockSize); held < int64(context) {
		must += fmt.Sprintf(", of which a sequence holds %d tokens (the model's window, and --max-num-batched-tokens)", held)
	}
	most := int64(math.MaxInt32 / o.blockSize) // a cache slot is 32 bits
	blocks := min(perSeq*int64(o.maxSeqs), most)
	if o.kvBytes > free {
		return 0, usage("--kv-cache-memory-bytes %d is more than the %d bytes of memory that are free beside the weights and activations", o.kvBytes, free)
	}
	if o.kvBytes > 0 {
		if blocks = min(o.kvBytes/block, most); blocks < perSeq {
			return 0, usage("--kv-cache-memory-bytes %d holds %d tokens in blocks of %d bytes, but %s: give at least %d bytes, or a smaller --max-model-len",
				o.kvBytes, blocks*int64(o.blockSize), block, must, perSeq*block)
		}
		return int(blocks), nil
	}
	if blocks = min(blocks, free/kvShare/block); blocks < perSeq {
		return 0, usage("half of the %s of memory that are free beside the weights and activations holds %d tokens of KV cache, but %s: give a smaller --max-model-len, or %d with --kv-cache-memory-bytes",
			size(free), blocks*int64(o.blockSize), must, perSeq*block)
	}
	return int(blocks), nil
}

// need is the memory that a model takes, in bytes.
type need struct {
	weights     int64         // in the device's dtype and layout
	activations int64         // of the largest step: the model's buffers, and what the engine keeps of it
	loading     int64         // at most, beside the weights, while they are loaded; it is free again afterwards
	stored      kernels.DType // that most of the checkpoint comes in
}

// peak is the most that is needed at a time, KV cache apart.
func (n need) peak() int64 { return n.weights + max(n.loading, n.activations) }

// measure finds out what a model of those limits needs, by loading it without
// its data onto a device that only counts. Tensors that are missing or of
// another shape are found so before any work is done.
func measure(ck weights.Checkpoint, dtype kernels.DType, l models.Limits) (need, error) {
	d := &counting{dtype: dtype, stored: map[kernels.DType]int64{}}
	l.Blocks = 1
	m, err := models.Open(d, weights.Shapes(ck), l)
	if err != nil {
		return need{}, err
	}
	n := need{weights: d.weights, activations: d.buffers + hostBytes(m)}
	// The parts of a weight in buffers of a checkpoint (weights.Recycler) that may
	// have held larger ones before, or twice those that are read and put in order;
	// mapped files have their own bound (weights/mapped).
	n.loading = 2*d.largest + 128<<20
	for t, bytes := range d.stored {
		if bytes > d.stored[n.stored] {
			n.stored = t
		}
	}
	return n, nil
}

// hostBytes is what the engine keeps of a step: its descriptor, of which the device
// has a copy.
func hostBytes(m *models.Model) int64 {
	T, R := int64(m.MaxTokens()), int64(m.MaxSeqs())
	blocks := int64((m.MaxModelLen() + m.KVShape().BlockSize - 1) / m.KVShape().BlockSize)
	return 2 * 4 * (3*T + R*(blocks+3) + 1)
}

// counting is a device that takes no memory and adds up what the CPU would take.
// Nothing can be computed on it.
type counting struct {
	kernels.Ops      // nil
	dtype            kernels.DType
	weights, buffers int64
	largest          int64                   // the parts of one weight, as the checkpoint has them
	stored           map[kernels.DType]int64 // bytes of matrices, as the checkpoint has them
}

// Matrices are packed in panels of 16 outputs, bfloat16 also in pairs of inputs
// (kernels/cpu/pack.c); large pieces of memory end with a whole huge page.
const (
	panel    = 16
	hugePage = 2 << 20
)

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

func allocation(bytes int64) int64 {
	if bytes < hugePage {
		return roundUp(bytes, 4096)
	}
	return roundUp(bytes, hugePage)
}

// flat is a weight or buffer of counting.
type flat struct{ rows, cols int }

func (f flat) Dims() (rows, cols int) { return f.rows, f.cols }

func (d *counting) Load(l kernels.Layout, parts ...kernels.Tensor) (kernels.Weight, error) {
	var read, elements, rows int64
	for _, t := range parts {
		n := int64(1)
		for _, s := range t.Shape {
			n *= int64(s)
		}
		first := int64(t.Shape[0])
		if l == kernels.MatrixT {
			first = int64(t.Shape[1])
		}
		read, elements, rows = read+n*int64(t.DType.Size()), elements+n, rows+first
		if l != kernels.Float {
			d.stored[t.DType] += n * int64(t.DType.Size())
		}
	}
	d.largest = max(d.largest, read)
	cols := elements / max(rows, 1)
	bytes := 4 * elements
	if l != kernels.Float {
		bytes = roundUp(rows, panel) * roundUp(cols, 2) * int64(d.dtype.Size())
	}
	d.weights += allocation(bytes)
	return flat{int(rows), int(cols)}, nil
}

func (d *counting) NewBuffer(rows, cols int) (kernels.Buffer, error) {
	d.buffers += allocation(4 * int64(rows) * int64(cols))
	return flat{rows, cols}, nil
}

// countingKV is a cache of counting; it is fit that sizes the real one.
type countingKV kernels.KVShape

func (k countingKV) Shape() kernels.KVShape { return kernels.KVShape(k) }

func (d *counting) NewKV(s kernels.KVShape) (kernels.KV, error) { return countingKV(s), s.Check() }

func (d *counting) Name() string                                { return "counting" }
func (d *counting) DType() kernels.DType                        { return d.dtype }
func (d *counting) Begin(*kernels.Step) error                   { return errCounting }
func (d *counting) End() error                                  { return errCounting }
func (d *counting) Read(kernels.Buffer, int) ([]float32, error) { return nil, errCounting }
func (d *counting) Close() error                                { return nil }

var errCounting = fmt.Errorf("a device that only counts memory computes nothing")

// fit sizes the KV cache and refuses a model that does not fit into the free
// memory, with what it needs and what to do.
func (o *options) fit(spec models.Spec, l models.Limits, n need, free int64) (models.Limits, error) {
	token := spec.KVBytesPerToken(o.dtype)
	if n.peak() > free {
		narrower := ""
		if o.dtype == kernels.F32 {
			narrower = " --dtype bfloat16 halves the weights;"
		}
		return l, usage("model %s does not fit into memory: its weights take %s in %s, and beside them loading takes up to %s, later a step's activations %s and the KV cache %s a token; %s of memory are free.%s "+
			"smaller --max-num-batched-tokens (%d) and --max-num-seqs (%d) need less for activations, a smaller --max-model-len (%d) less for the KV cache",
			o.model, size(n.weights), o.dtype, size(n.loading), size(n.activations), size(int64(token)), size(free), narrower,
			l.MaxTokens, l.MaxSeqs, l.MaxModelLen)
	}
	var err error
	l.Blocks, err = kvBlocks(o, l.MaxModelLen, spec.Attn.Window, token, free-n.weights-n.activations)
	return l, err
}
