package main

import (
	"fmt"
	"math"

	"servebench/kernels"
	"servebench/serving/models"
	"servebench/serving/sched"
	"servebench/serving/weights"
)

// kvShare is the part of the CPU's memory that weights and activations leave which
// the KV cache takes at most when nothing else is asked for: half of it stays for
// everything else on the machine.
const kvShare = 2

// mostBlocks bounds a KV cache that takes all memory that is left, as the engine
// keeps account of each block in the host's. A GPU of 192 GB has room for half of
// that in blocks of 16 tokens of SmolLM2-135M, for fewer of anything larger.
const mostBlocks = 1 << 20

// kvBlocks returns how many blocks the KV cache gets in the free bytes that weights
// and activations leave, when a sequence sees window positions (0: all): those that
// --kv-cache-memory-bytes asks for, of the bytes that it may ask for, else enough
// for every sequence of a step to fill its context, or its window and a chunk, or
// as many as there is room for, as the place has it. One sequence has to fit.
func (o *options) kvBlocks(p *place, spec models.Spec, l models.Limits, free, may int64) (int, error) {
	context, block := l.MaxModelLen, p.layout.block(spec.Attn, spec.Layers, l.BlockSize, o.dtype)
	perSeq := int64(sched.SeqBlocks(context, spec.Attn.Window, l.MaxTokens, l.BlockSize))
	must := fmt.Sprintf("--max-model-len is %d", context)
	if held := perSeq * int64(l.BlockSize); held < int64(context) {
		must += fmt.Sprintf(", of which a sequence holds %d tokens (the model's window, and --max-num-batched-tokens)", held)
	}
	most := int64(math.MaxInt32 / l.BlockSize) // a cache slot is 32 bits
	if o.kvBytes > may {
		return 0, usage("--kv-cache-memory-bytes %d is more than the %d bytes of %s that are free beside the weights and activations", o.kvBytes, max(may, 0), p.memory)
	}
	if o.kvBytes > 0 {
		blocks := min(o.kvBytes/block, most)
		if blocks < perSeq {
			return 0, usage("--kv-cache-memory-bytes %d holds %d tokens in blocks of %d bytes, but %s: give at least %d bytes, or a smaller --max-model-len",
				o.kvBytes, blocks*int64(l.BlockSize), block, must, perSeq*block)
		}
		return int(blocks), nil
	}
	blocks := min(perSeq*int64(l.MaxSeqs), most)
	if p.fill {
		blocks = min(max(blocks, mostBlocks), most)
	}
	if blocks = min(blocks, free/p.share/block); blocks >= perSeq {
		return int(blocks), nil
	}
	if p.gpu() {
		return 0, usage("the %s of GPU memory that --gpu-memory-utilization %g leaves beside the weights, the activations and what is in use holds %d tokens of KV cache, but %s: give a smaller --max-model-len, or a larger --gpu-memory-utilization",
			size(free), o.gpuUtil, blocks*int64(l.BlockSize), must)
	}
	return 0, usage("half of the %s of memory that are free beside the weights and activations holds %d tokens of KV cache, but %s: give a smaller --max-model-len, or %d with --kv-cache-memory-bytes",
		size(free), blocks*int64(l.BlockSize), must, perSeq*block)
}

// need is the memory that a model takes on its device, in bytes.
type need struct {
	weights     int64         // in the device's dtype and layout
	activations int64         // of the largest step: the model's buffers, the kernels' own, and what the engine keeps of it
	loading     int64         // at most, beside the weights, while they are loaded; it is free again afterwards
	stored      kernels.DType // that most of the checkpoint comes in
}

// peak is the most that is needed at a time, KV cache apart.
func (n need) peak() int64 { return n.weights + max(n.loading, n.activations) }

// measure finds out what a model of those limits needs, by loading it without
// its data onto a device that only counts. Tensors that are missing or of
// another shape are found so before any work is done.
func measure(ck weights.Checkpoint, dtype kernels.DType, l models.Limits, on layout) (need, error) {
	d := &counting{dtype: dtype, layout: on, stored: map[kernels.DType]int64{}}
	l.Blocks = 1
	m, err := models.Open(d, weights.Shapes(ck), l)
	if err != nil {
		return need{}, err
	}
	n := need{weights: d.weights, activations: d.buffers + on.scratch(m, d.widest, dtype), loading: on.loading(d.largest)}
	for t, bytes := range d.stored {
		if bytes > d.stored[n.stored] {
			n.stored = t
		}
	}
	return n, nil
}

// counting is a device that takes no memory and adds up what another would take.
// Nothing can be computed on it.
type counting struct {
	kernels.Ops      // nil
	dtype            kernels.DType
	layout           layout
	weights, buffers int64
	largest          int64                   // the parts of one weight, as the checkpoint has them
	widest           int64                   // K of the widest matrix
	stored           map[kernels.DType]int64 // bytes of matrices, as the checkpoint has them
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }

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
	if l == kernels.Float {
		d.weights += d.layout.allocation(4 * elements)
	} else {
		d.widest = max(d.widest, cols)
		d.weights += d.layout.allocation(d.layout.matrix(rows, cols) * int64(d.dtype.Size()))
	}
	return flat{int(rows), int(cols)}, nil
}

func (d *counting) NewBuffer(rows, cols int) (kernels.Buffer, error) {
	d.buffers += d.layout.allocation(4 * int64(rows) * int64(cols))
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
func (o *options) fit(spec models.Spec, l models.Limits, n need, p *place) (models.Limits, error) {
	token := p.layout.block(spec.Attn, spec.Layers, l.BlockSize, o.dtype) / int64(l.BlockSize)
	free := p.free
	if o.kvBytes > 0 {
		free = p.most
	}
	if n.peak() > free {
		narrower, less := "", "smaller --max-num-batched-tokens (%d) and --max-num-seqs (%d) need less for activations, a smaller --max-model-len (%d) less for the KV cache"
		if o.dtype == kernels.F32 {
			narrower = " --dtype bfloat16 halves the weights;"
		}
		left := "are free"
		if p.gpu() {
			left = fmt.Sprintf("are what --gpu-memory-utilization %g leaves beside what is in use", o.gpuUtil)
			less += "; --device cpu takes the machine's memory"
		}
		return l, usage("model %s does not fit into %s: its weights take %s in %s, and beside them loading takes up to %s, later a step's activations %s and the KV cache %s a token; %s of %s %s.%s "+less,
			o.model, p.memory, size(n.weights), o.dtype, size(n.loading), size(n.activations), size(token), size(max(free, 0)), p.memory, left, narrower,
			l.MaxTokens, l.MaxSeqs, l.MaxModelLen)
	}
	var err error
	l.Blocks, err = o.kvBlocks(p, spec, l, p.free-n.weights-n.activations, p.most-n.weights-n.activations)
	return l, err
}
