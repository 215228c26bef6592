package kernels

import "fmt"

// The Check functions below are what a device calls first in each operation:
// they panic, with the operation's name, on a shape that doc.go does not allow.
// Those that return an error look at a step's contents, which a device must not
// trust: the error is for End to return.

func badShape(op, format string, args ...any) {
	panic("kernels: " + op + ": " + fmt.Sprintf(format, args...))
}

// need panics unless b is [at least rows, exactly cols].
func need(op, name string, b Buffer, rows, cols int) {
	if b == nil {
		badShape(op, "%s is nil", name)
	}
	if r, c := b.Dims(); rows < 0 || r < rows || c != cols {
		badShape(op, "%s is [%d, %d], needs [%d, %d]", name, r, c, rows, cols)
	}
}

// needVector panics unless w is nil and may be, or a vector of n.
func needVector(op, name string, w Weight, n int, optional bool) {
	if w == nil {
		if !optional {
			badShape(op, "%s is nil", name)
		}
		return
	}
	if r, c := w.Dims(); r != 1 || c != n {
		badShape(op, "%s is [%d, %d], needs [1, %d]", name, r, c, n)
	}
}

// apart panics when out is one of the inputs.
func apart(op string, out Buffer, inputs ...Buffer) {
	for _, in := range inputs {
		if in != nil && in == out {
			badShape(op, "out is also an input")
		}
	}
}

func cols(op string, b Buffer) int {
	if b == nil {
		badShape(op, "x is nil")
	}
	_, c := b.Dims()
	return c
}

// CheckEmbed checks the shapes of Embed and returns what is wrong with the
// step's tokens and positions.
func CheckEmbed(s *Step, out Buffer, tokens, positions Weight) error {
	if tokens == nil {
		badShape("Embed", "tokens is nil")
	}
	v, d := tokens.Dims()
	need("Embed", "out", out, len(s.Tokens), d)
	if err := s.CheckTokens(v); err != nil || positions == nil {
		return err
	}
	p, pd := positions.Dims()
	if pd != d {
		badShape("Embed", "positions has %d columns, tokens %d", pd, d)
	}
	return s.CheckPositions(p)
}

// CheckNorm checks the shapes of Norm.
func CheckNorm(out, x, delta Buffer, n Norm, rows int) {
	d := cols("Norm", x)
	need("Norm", "x", x, rows, d)
	need("Norm", "out", out, rows, d)
	if delta != nil {
		need("Norm", "delta", delta, rows, d)
	}
	apart("Norm", out, x, delta)
	apart("Norm", x, delta)
	needVector("Norm", "weight", n.Weight, d, false)
	needVector("Norm", "bias", n.Bias, d, true)
}

// CheckMatMul checks the shapes of MatMul.
func CheckMatMul(out, x Buffer, w, bias Weight, rows int) {
	if w == nil {
		badShape("MatMul", "w is nil")
	}
	n, k := w.Dims()
	need("MatMul", "x", x, rows, k)
	need("MatMul", "out", out, rows, n)
	apart("MatMul", out, x)
	needVector("MatMul", "bias", bias, n, true)
}

// checkHeads panics unless qkv has the step's rows and the heads of a, and the
// cache has the layer and the heads.
func checkHeads(op string, s *Step, qkv Buffer, kv KV, layer int, a Attn) {
	if a.Heads <= 0 || a.KVHeads <= 0 || a.HeadDim <= 0 || a.Heads%a.KVHeads != 0 || a.Window < 0 {
		badShape(op, "heads %+v", a)
	}
	need(op, "qkv", qkv, len(s.Tokens), (a.Heads+2*a.KVHeads)*a.HeadDim)
	if kv == nil {
		badShape(op, "kv is nil")
	}
	sh := kv.Shape()
	if sh.KVHeads != a.KVHeads || sh.HeadDim != a.HeadDim || layer < 0 || layer >= sh.Layers {
		badShape(op, "layer %d of heads %+v in a cache of %+v", layer, a, sh)
	}
}

// CheckStoreKV checks the shapes of StoreKV and returns what is wrong with the
// step's positions. The caller also asks Step.CheckKV, once a step and cache.
func CheckStoreKV(s *Step, qkv Buffer, kv KV, layer int, r Rope, a Attn) error {
	checkHeads("StoreKV", s, qkv, kv, layer, a)
	if r.Dims == 0 {
		return nil
	}
	if r.Dims < 0 || r.Dims%2 != 0 || r.Dims > a.HeadDim || r.Table == nil {
		badShape("StoreKV", "rotates %d of %d, table %v", r.Dims, a.HeadDim, r.Table)
	}
	p, d := r.Table.Dims()
	if d != r.Dims {
		badShape("StoreKV", "rotation table has %d columns, needs %d", d, r.Dims)
	}
	return s.CheckPositions(p)
}

// CheckAttention checks the shapes of Attention and returns what is wrong with
// the step's window. The caller also asks Step.CheckKV, once a step and cache.
func CheckAttention(s *Step, out, qkv Buffer, kv KV, layer int, a Attn) error {
	checkHeads("Attention", s, qkv, kv, layer, a)
	need("Attention", "out", out, len(s.Tokens), a.Heads*a.HeadDim)
	apart("Attention", out, qkv)
	return s.CheckWindow(a.Window)
}

// CheckActivate checks the shapes of Activate.
func CheckActivate(out, x Buffer, f Act, gated bool, rows int) {
	if f > SiLU {
		badShape("Activate", "unknown function %d", f)
	}
	width := cols("Activate", out)
	need("Activate", "out", out, rows, width)
	if gated {
		width *= 2
	}
	need("Activate", "x", x, rows, width)
	apart("Activate", out, x)
}

// CheckAdd checks the shapes of Add.
func CheckAdd(x, y Buffer, rows int) {
	d := cols("Add", x)
	need("Add", "x", x, rows, d)
	need("Add", "y", y, rows, d)
	apart("Add", x, y)
}

// CheckGather checks the shapes of Gather.
func CheckGather(s *Step, out, x, delta Buffer) {
	d := cols("Gather", x)
	need("Gather", "x", x, len(s.Tokens), d)
	need("Gather", "out", out, len(s.Out), d)
	if delta != nil {
		need("Gather", "delta", delta, len(s.Tokens), d)
	}
	apart("Gather", out, x, delta)
}

// CheckDraw checks the shapes of Draw.
func CheckDraw(s *Step, logits Buffer, vocab int, draws []Draw) {
	width := cols("Draw", logits)
	if vocab < 1 || vocab > width {
		badShape("Draw", "%d ids of rows of %d logits", vocab, width)
	}
	if len(draws) > len(s.Out) {
		badShape("Draw", "%d rows of a step that wants %d", len(draws), len(s.Out))
	}
	need("Draw", "logits", logits, len(draws), width)
}
