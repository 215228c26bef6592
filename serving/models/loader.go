package models

import (
	"servebench/kernels"
	"servebench/serving/weights"
)

// loader hands weights from a checkpoint to a device. It keeps the first error
// and then does nothing, so that an architecture's load function reads as a
// list. Names are a checkpoint's without ".weight" and ".bias".
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
	if r, ok := l.ck.(weights.Recycler); ok {
		for _, t := range parts {
			r.Recycle(t.Data) // the device has its own copy
		}
	}
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
	return l.load(kernels.Matrix, l.tensor(name+".weight", n, k))
}

// vector loads [n] in float32.
func (l *loader) vector(name string, n int) kernels.Weight {
	return l.load(kernels.Float, l.tensor(name, n))
}

// part is one of the matrices [n, k] that are stacked into one.
type part struct {
	name string
	n    int
}

// linear loads matrices [n, k] that share their input as one, with their biases,
// so that one operation multiplies by all of them.
func (l *loader) linear(k int, bias bool, parts ...part) linear {
	matrices := make([]kernels.Tensor, len(parts))
	for i, p := range parts {
		matrices[i] = l.tensor(p.name+".weight", p.n, k)
	}
	f := linear{w: l.load(kernels.Matrix, matrices...)}
	if bias {
		vectors := make([]kernels.Tensor, len(parts))
		for i, p := range parts {
			vectors[i] = l.tensor(p.name+".bias", p.n)
		}
		f.bias = l.load(kernels.Float, vectors...)
	}
	return f
}

// conv1D loads Transformers' Conv1D of that name: a matrix kept as [k, n], and a bias.
func (l *loader) conv1D(name string, n, k int) linear {
	return linear{
		w:    l.load(kernels.MatrixT, l.tensor(name+".weight", k, n)),
		bias: l.vector(name+".bias", n),
	}
}

// rmsNorm loads the norm of that name over d elements.
func (l *loader) rmsNorm(name string, d int, eps float64) kernels.Norm {
	return kernels.Norm{Weight: l.vector(name+".weight", d), Eps: float32(eps)}
}

// layerNorm loads the norm of that name over d elements.
func (l *loader) layerNorm(name string, d int, eps float64) kernels.Norm {
	return kernels.Norm{
		Weight: l.vector(name+".weight", d), Bias: l.vector(name+".bias", d),
		Eps: float32(eps), Mean: true,
	}
}
