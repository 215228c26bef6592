package models

import (
	"encoding/binary"
	"fmt"
	"math"

	"servebench/kernels"
	"servebench/serving/weights"
)

// loader hands weights from a checkpoint to a device. It keeps the first error
// and then does nothing, so that an architecture's load function reads as a list.
type loader struct {
	dev       kernels.Device
	ck        weights.Checkpoint
	positions int // that a sequence can reach: rotation tables need no more
	err       error
}

func (l *loader) load(layout kernels.Layout, parts ...kernels.Tensor) kernels.Weight {
	if l.err != nil {
		return nil
	}
	w, err := l.dev.Load(layout, parts...)
	l.err = err
	return w
}

func (l *loader) tensor(name string, shape ...int) kernels.Tensor {
	if l.err != nil {
		return kernels.Tensor{}
	}
	t, err := l.ck.Tensor(name, shape...)
	l.err = err
	return t
}

// matrix loads [n, k].
func (l *loader) matrix(name string, n, k int) kernels.Weight {
	return l.load(kernels.Matrix, l.tensor(name, n, k))
}

// matrixT loads a matrix that the checkpoint keeps as [k, n].
func (l *loader) matrixT(name string, n, k int) kernels.Weight {
	return l.load(kernels.MatrixT, l.tensor(name, k, n))
}

// rows is one part of a stacked matrix.
type rows struct {
	name string
	n    int
}

// stacked loads matrices [n, k] that share their input as one, so that one
// operation multiplies by all of them.
func (l *loader) stacked(k int, parts ...rows) kernels.Weight {
	tensors := make([]kernels.Tensor, len(parts))
	for i, p := range parts {
		tensors[i] = l.tensor(p.name, p.n, k)
	}
	return l.load(kernels.Matrix, tensors...)
}

// vector loads [n] in float32.
func (l *loader) vector(name string, n int) kernels.Weight {
	return l.load(kernels.Float, l.tensor(name, n))
}

// rope loads the rotation table of every position for the inverse frequencies
// 1/theta^(2i/dims), as Transformers computes them: frequencies and angles in
// float32, then the sine and cosine of those angles.
func (l *loader) rope(dims int, theta float64) kernels.Rope {
	if l.err != nil {
		return kernels.Rope{}
	}
	positions, half := l.positions, dims/2
	freq := make([]float32, half)
	for i := range freq {
		freq[i] = 1 / float32(math.Pow(theta, float64(float32(2*i)/float32(dims))))
	}
	table := make([]byte, positions*dims*4)
	for p := range positions {
		row := table[p*dims*4:]
		for i, f := range freq {
			angle := float64(float32(p) * f)
			binary.LittleEndian.PutUint32(row[i*4:], math.Float32bits(float32(math.Cos(angle))))
			binary.LittleEndian.PutUint32(row[(half+i)*4:], math.Float32bits(float32(math.Sin(angle))))
		}
	}
	t := kernels.Tensor{Name: "rotation table", Shape: []int{positions, dims}, DType: kernels.F32, Data: table}
	return kernels.Rope{Dims: dims, Table: l.load(kernels.Float, t)}
}

// attention is the self-attention block of every architecture here: x is
// normalised already, the projected result goes to m.delta.
type attention struct {
	qkv, qkvBias kernels.Weight // [(H+2G)·E, D]; bias may be nil
	out, outBias kernels.Weight // [D, H·E]; bias may be nil
}

func (a attention) forward(m *Model, x kernels.Buffer, layer int, rope kernels.Rope, T int) {
	d, s := m.dev, m.spec.Attn
	d.MatMul(m.qkv, x, a.qkv, a.qkvBias, T)
	d.StoreKV(m.qkv, m.kv, layer, rope, s)
	d.Attention(m.att, m.qkv, m.kv, layer, s)
	d.MatMul(m.delta, m.att, a.out, a.outBias, T)
}

// mlp is the feed-forward block: delta = down(act(up(x))), or with a gate
// delta = down(act(gate(x))·up(x)), gate and up stacked as one matrix.
type mlp struct {
	up, upBias     kernels.Weight // [F, D], or [2F, D] gated
	down, downBias kernels.Weight // [D, F]
	act            kernels.Act
	gated          bool
}

func (f mlp) forward(m *Model, x kernels.Buffer, T int) {
	d := m.dev
	d.MatMul(m.ff, x, f.up, f.upBias, T)
	d.Activate(m.act, m.ff, f.act, f.gated, T)
	d.MatMul(m.delta, m.act, f.down, f.downBias, T)
}

// field is a number of a config.json.
type field struct {
	name  string
	value int
}

// required reports the first of the fields that is missing.
func required(fields ...field) error {
	for _, f := range fields {
		if f.value == 0 {
			return fmt.Errorf("%w: config.json has no %s", ErrConfig, f.name)
		}
	}
	return nil
}
