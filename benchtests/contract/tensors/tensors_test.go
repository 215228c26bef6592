package tensors

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// one is a tensor to be written.
type one struct {
	name   string
	of     Type
	shape  []uint64
	values []float32
}

// bytesOf returns the values as they are stored; bfloat16 and float16 must hold
// them exactly.
func (o one) bytesOf() []byte {
	var b []byte
	for _, v := range o.values {
		bits := math.Float32bits(v)
		switch o.of {
		case F32:
			b = binary.LittleEndian.AppendUint32(b, bits)
		case BF16:
			b = binary.LittleEndian.AppendUint16(b, uint16(bits>>16))
		case F16:
			for h := range 1 << 16 {
				if halfBits(uint16(h)) == bits {
					b = binary.LittleEndian.AppendUint16(b, uint16(h))
					break
				}
			}
		}
	}
	return b
}

// safetensors returns a file of the tensors.
func safetensors(all ...one) []byte {
	var data []byte
	entries := []string{`"__metadata__":{"format":"pt"}`}
	for _, o := range all {
		raw := o.bytesOf()
		shape := strings.ReplaceAll(fmt.Sprint(o.shape), " ", ",")
		name := map[Type]string{F32: "F32", F16: "F16", BF16: "BF16"}[o.of]
		entries = append(entries, fmt.Sprintf(`%q:{"dtype":%q,"shape":%s,"data_offsets":[%d,%d]}`, o.name, name, shape, len(data), len(data)+len(raw)))
		data = append(data, raw...)
	}
	head := "{" + strings.Join(entries, ",") + "}"
	return append(append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head...), data...)
}

// gguf returns a file of the tensors, with a vocabulary and an alignment of 64.
func gguf(all ...one) []byte {
	le := binary.LittleEndian
	text := func(b []byte, s string) []byte { return append(le.AppendUint64(b, uint64(len(s))), s...) }
	b := []byte("GGUF")
	b = le.AppendUint64(le.AppendUint64(le.AppendUint32(b, 3), uint64(len(all))), 4)
	b = le.AppendUint32(le.AppendUint32(text(b, "general.alignment"), ggufUint32), 64)
	b = text(le.AppendUint32(text(b, "general.architecture"), ggufString), "gpt2")
	b = le.AppendUint64(le.AppendUint32(le.AppendUint32(text(b, "tokenizer.ggml.tokens"), ggufArray), ggufString), 2)
	b = text(text(b, "a"), "b")
	b = le.AppendUint64(le.AppendUint32(le.AppendUint32(text(b, "scores"), ggufArray), 6), 3)
	b = append(b, make([]byte, 12)...)
	var data []byte
	for _, o := range all {
		b = le.AppendUint32(text(b, o.name), uint32(len(o.shape)))
		for _, d := range o.shape {
			b = le.AppendUint64(b, d)
		}
		kind := uint32(3)
		for id, of := range ggmlTypes {
			if of == o.of {
				kind = id
			}
		}
		b = le.AppendUint64(le.AppendUint32(b, kind), uint64(len(data)))
		data = append(data, o.bytesOf()...)
		data = append(data, make([]byte, (64-len(data)%64)%64)...)
	}
	b = append(b, make([]byte, (64-len(b)%64)%64)...)
	return append(b, data...)
}

// write writes a file and digests it.
func write(t *testing.T, name string, data []byte) *Weights {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o644))
	w, err := Open(path)
	require.NoError(t, err)
	require.NoError(t, w.Digest(t.Context()))
	return w
}

func TestConversions(t *testing.T) {
	matrix := one{"model.q", BF16, []uint64{2, 3}, []float32{1, 2, 3, -4, 5.5, 6}}
	norm := one{"model.norm", BF16, []uint64{2}, []float32{1, 0.5}}
	folder := write(t, "model.safetensors", safetensors(matrix, norm))
	check := func(name string, other *Weights, same bool, want string) {
		t.Helper()
		c := Compare(folder, other)
		assert.Equal(t, same, c.Same(), "%s: %s", name, &c)
		assert.Contains(t, c.String(), want, name)
		back := Compare(other, folder)
		assert.Equal(t, same, back.Same(), name)
	}
	check("itself", folder, true, "2 tensors with 8 values are the same")

	// Names, a permutation, a transposition, small tensors in float32, padding.
	permuted := one{"blk.0.attn_q", BF16, []uint64{3, 2}, []float32{-4, 5.5, 6, 1, 2, 3}}
	wide := one{"output_norm", F32, []uint64{2}, []float32{1, 0.5}}
	check("gguf", write(t, "m.gguf", gguf(permuted, wide)), true, "")
	half := permuted
	half.of = F16
	check("float16 that holds every value", write(t, "m.gguf", gguf(half, wide)), true, "")
	tied := norm
	tied.name = "again"
	check("a tensor twice", write(t, "model.safetensors", safetensors(matrix, norm, tied)), true, "")
	mask := one{"h.0.attn.bias", F32, []uint64{1}, []float32{7}}
	check("a causal mask", write(t, "model.safetensors", safetensors(matrix, norm, mask)), true, "")

	rounded := permuted
	rounded.values = []float32{-4, 5.5, 6, 1, 2, 3.015625}
	check("one value differs", write(t, "m.gguf", gguf(rounded, wide)), false, "the first model.q (bfloat16), on the other 1, the first blk.0.attn_q (bfloat16)")
	twice := permuted
	twice.values = []float32{-4, 5.5, 6, 1, 2, 2}
	check("a value more often", write(t, "m.gguf", gguf(twice, wide)), false, "1 tensors are the same")
	check("a tensor is missing", write(t, "m.gguf", gguf(wide)), false, "on the other none")
	more := one{"extra", F32, []uint64{1}, []float32{9}}
	check("a tensor more", write(t, "m.gguf", gguf(permuted, wide, more)), false, "on one side alone are none")
	quantised := one{"blk.0.attn_q", "q4_1", []uint64{3, 2}, nil}
	w := write(t, "m.gguf", gguf(quantised, wide))
	check("quantised", w, false, "(q4_1)")
	assert.Equal(t, Type("q4_1"), w.Dtype())
	assert.Equal(t, BF16, folder.Dtype())
	assert.Equal(t, Type(""), (&Weights{}).Dtype())

	c := Compare(&Weights{}, &Weights{})
	assert.False(t, c.Same(), "nothing is not the same")
}

func TestFolders(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a [b]*?") // what a pattern would take for its own
	require.NoError(t, os.Mkdir(dir, 0o755))
	_, err := Open(dir)
	require.ErrorIs(t, err, ErrNone)
	a, b := one{"a", F32, []uint64{1}, []float32{1}}, one{"b", F32, nil, []float32{2}}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model-1.safetensors"), safetensors(a), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "model-2.safetensors"), safetensors(b), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "m.gguf"), []byte("GGUF"), 0o644))
	w, err := Open(dir)
	require.NoError(t, err)
	require.NoError(t, w.Digest(t.Context()))
	c := Compare(w, write(t, "all.safetensors", safetensors(b, a)))
	assert.True(t, c.Same(), "a scalar and a vector in two files")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, w.Digest(ctx), context.Canceled)
	require.NoError(t, os.Remove(filepath.Join(dir, "model-2.safetensors")))
	require.ErrorIs(t, w.Digest(t.Context()), os.ErrNotExist)
	_, err = Open(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestHalfBits(t *testing.T) {
	for h := range 1 << 16 {
		got := float64(math.Float32frombits(halfBits(uint16(h))))
		exp, frac := h>>10&0x1f, float64(h&0x3ff)
		want := math.Ldexp(1024+frac, exp-25)
		switch {
		case exp == 0:
			want = math.Ldexp(frac, -24)
		case exp == 0x1f && frac == 0:
			want = math.Inf(1)
		case exp == 0x1f:
			require.True(t, math.IsNaN(got), "%#x", h)
			continue
		}
		if h>>15 == 1 {
			want = -want
		}
		require.Equal(t, want, got, "%#x", h)
		require.Equal(t, math.Signbit(want), math.Signbit(got), "%#x", h)
	}
}

func TestBroken(t *testing.T) {
	check := func(name string, data []byte, want string) {
		t.Helper()
		path := filepath.Join(t.TempDir(), "model.safetensors")
		require.NoError(t, os.WriteFile(path, data, 0o644))
		_, err := Open(path)
		assert.ErrorIs(t, err, ErrFormat, name)
		assert.ErrorContains(t, err, want, name)
	}
	good := one{"a", F32, []uint64{2}, []float32{1, 2}}
	whole, container := safetensors(good), gguf(good)
	head := func(text string) []byte {
		return append(binary.LittleEndian.AppendUint64(nil, uint64(len(text))), text...)
	}
	check("empty", nil, "EOF")
	check("short", []byte("{}"), "EOF")
	check("html", []byte("<html><head>"), "neither GGUF nor a safetensors header")
	check("cut", whole[:len(whole)-1], "has 2 values from byte")
	check("no JSON", head("[1]"), "safetensors header")
	check("no offsets", head(`{"a":{"dtype":"F32","shape":[1]}}`), `tensor "a"`)
	check("negative", head(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}`), "at bytes [-4 0]")
	check("other size", append(head(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,8]}}`), make([]byte, 8)...), "at bytes [0 8]")
	check("overflow", head(`{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}`), "has -1 values")

	for n := 4; n < len(container)-64+8; n += 7 { // what follows the values is padding
		check("GGUF cut", container[:n], "")
	}
	change := func(at int, to byte) []byte {
		b := bytes.Clone(container)
		b[at] = to
		return b
	}
	check("version", change(4, 1), "GGUF version 1")
	check("tensors", change(15, 1), "a GGUF header with")
	check("nesting", ggufNested(9), "a GGUF value of type")
}

// ggufNested is a file whose one value is arrays in arrays.
func ggufNested(depth int) []byte {
	le := binary.LittleEndian
	b := le.AppendUint64(le.AppendUint64(le.AppendUint32([]byte("GGUF"), 3), 0), 1)
	b = append(le.AppendUint64(b, 1), 'k')
	b = le.AppendUint32(b, ggufArray)
	for range depth {
		b = le.AppendUint64(le.AppendUint32(b, ggufArray), 1)
	}
	return append(b, make([]byte, 64)...)
}

func fuzz(f *testing.F, parse func([]byte) ([]Tensor, error)) {
	f.Fuzz(func(t *testing.T, data []byte) {
		tensors, err := parse(data)
		if err != nil {
			require.ErrorIs(t, err, ErrFormat)
			return
		}
		for _, o := range tensors {
			require.NoError(t, o.check(int64(len(data))), "what is read lies within the file")
		}
	})
}

func FuzzSafetensors(f *testing.F) {
	f.Add(safetensors(one{"a", F32, []uint64{2}, []float32{1, 2}}, one{"b", BF16, nil, []float32{1}}))
	f.Add([]byte("GGUF"))
	fuzz(f, func(data []byte) ([]Tensor, error) { return parseSafetensors(bytes.NewReader(data), int64(len(data))) })
}

func FuzzGGUF(f *testing.F) {
	f.Add(gguf(one{"a", F32, []uint64{2}, []float32{1, 2}}, one{"b", "q4_1", []uint64{2, 3}, nil}))
	f.Add(ggufNested(3))
	fuzz(f, func(data []byte) ([]Tensor, error) { return parseGGUF(bytes.NewReader(data), int64(len(data))) })
}
