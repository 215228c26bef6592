package ref_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/ref"
	"servebench/testdata"
)

// golden is a case of testdata/kernels/ops.json, which testdata/make_kernels.py
// makes with PyTorch in float64.
type golden struct {
	Op                     string
	Rows, D, N, K, Width   int
	Heads                  int `json:"heads"`
	KVHeads                int `json:"kv_heads"`
	HeadDim                int `json:"head_dim"`
	Dims, Window           int
	Mean, BF16, Gated      bool
	Act                    string
	Eps, Scale             float32
	X, Delta, Weight, Bias []float32
	QKV                    []float32 `json:"qkv"`
	Table                  []float32
	Out                    []float32
}

// Both compute in float64 and round once; the intermediate results that are
// kept in float32 (a rotated query, x + delta) allow a few roundings more.
const goldenAbs, goldenRel = 3e-7, 2e-7

func TestGolden(t *testing.T) {
	raw, err := os.ReadFile(testdata.Path("kernels", "ops.json"))
	require.NoError(t, err)
	var cases []golden
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.NotEmpty(t, cases)
	worst := 0.0
	for i, c := range cases {
		t.Run(fmt.Sprintf("%d %s", i, c.Op), func(t *testing.T) {
			dtype := kernels.F32
			if c.BF16 {
				dtype = kernels.BF16
			}
			g := goldenRun{t, ref.New(dtype), c}
			got := map[string]func() kernels.Buffer{
				"norm": g.norm, "matmul": g.matMul, "activate": g.activate, "attention": g.attention,
			}[c.Op]()
			out, err := g.dev.Read(got, len(c.Out))
			require.NoError(t, err)
			for j, want := range c.Out {
				diff := math.Abs(float64(out[j]) - float64(want))
				allowed := goldenAbs + goldenRel*math.Abs(float64(want))
				worst = max(worst, diff/allowed)
				assert.LessOrEqual(t, diff, allowed, "element %d: got %v, want %v", j, out[j], want)
			}
		})
	}
	t.Logf("largest error: %.0f%% of the allowed one", 100*worst)
}

// goldenRun runs one case.
type goldenRun struct {
	t   *testing.T
	dev kernels.Device
	golden
}

func (g goldenRun) load(l kernels.Layout, values []float32, shape ...int) kernels.Weight {
	g.t.Helper()
	if values == nil {
		return nil
	}
	data := make([]byte, 0, 4*len(values))
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	w, err := g.dev.Load(l, kernels.Tensor{Name: "golden", Shape: shape, DType: kernels.F32, Data: data})
	require.NoError(g.t, err)
	return w
}

func (g goldenRun) buffer(cols int) kernels.Buffer {
	g.t.Helper()
	b, err := g.dev.NewBuffer(g.Rows, cols)
	require.NoError(g.t, err)
	return b
}

// step runs ops over the case's rows, a prompt in block order.
func (g goldenRun) step(ops func()) {
	g.t.Helper()
	s := &kernels.Step{Starts: []int32{0, int32(g.Rows)}, Lens: []int32{int32(g.Rows)}, MaxBlocks: 3, Blocks: []int32{0, 1, 2}}
	for i := range int32(g.Rows) {
		s.Tokens, s.Positions, s.Slots = append(s.Tokens, i), append(s.Positions, i), append(s.Slots, i)
	}
	require.NoError(g.t, g.dev.Begin(s))
	ops()
	require.NoError(g.t, g.dev.End())
}

// fill makes a buffer of values.
func (g goldenRun) fill(values []float32, cols int) kernels.Buffer {
	g.t.Helper()
	b, w := g.buffer(cols), g.load(kernels.Float, values, g.Rows, cols)
	g.step(func() { g.dev.Embed(b, w, nil) })
	return b
}

func (g goldenRun) norm() kernels.Buffer {
	x, delta, out := g.fill(g.X, g.D), g.fill(g.Delta, g.D), g.buffer(g.D)
	n := kernels.Norm{Weight: g.load(kernels.Float, g.Weight, g.D), Eps: g.Eps, Mean: g.Mean}
	n.Bias = g.load(kernels.Float, g.Bias, g.D)
	g.step(func() { g.dev.Norm(out, x, delta, n, g.Rows) })
	return out
}

func (g goldenRun) matMul() kernels.Buffer {
	x, out := g.fill(g.X, g.K), g.buffer(g.N)
	w, bias := g.load(kernels.Matrix, g.Weight, g.N, g.K), g.load(kernels.Float, g.Bias, g.N)
	g.step(func() { g.dev.MatMul(out, x, w, bias, g.Rows) })
	return out
}

func (g goldenRun) activate() kernels.Buffer {
	cols, act := g.Width, map[string]kernels.Act{"gelu_tanh": kernels.GELUTanh, "silu": kernels.SiLU}[g.Act]
	if g.Gated {
		cols *= 2
	}
	x, out := g.fill(g.X, cols), g.buffer(g.Width)
	g.step(func() { g.dev.Activate(out, x, act, g.Gated, g.Rows) })
	return out
}

func (g goldenRun) attention() kernels.Buffer {
	a := kernels.Attn{Heads: g.Heads, KVHeads: g.KVHeads, HeadDim: g.HeadDim, Scale: g.Scale, Window: g.Window}
	qkv, out := g.fill(g.QKV, (g.Heads+2*g.KVHeads)*g.HeadDim), g.buffer(g.Heads*g.HeadDim)
	kv, err := g.dev.NewKV(kernels.KVShape{Layers: 1, Blocks: 3, BlockSize: 4, KVHeads: g.KVHeads, HeadDim: g.HeadDim})
	require.NoError(g.t, err)
	rope := kernels.Rope{Dims: g.Dims}
	if g.Dims > 0 {
		rope.Table = g.load(kernels.Float, g.Table, g.Rows, g.Dims)
	}
	g.step(func() {
		g.dev.StoreKV(qkv, kv, 0, rope, a)
		g.dev.Attention(out, qkv, kv, 0, a)
	})
	return out
}
