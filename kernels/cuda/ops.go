package cuda

import "servebench/kernels"

// begun reports whether an operation of the step should run.
func (d *Device) begun() bool {
	if d.step == nil {
		panic("cuda: an operation outside of Begin and End")
	}
	return d.err == nil
}

// buffer, weight and cache unwrap what this device made. Anything else is a
// caller's bug: the GPU would read memory that is not there.
func (d *Device) buffer(op string, b kernels.Buffer) *buffer {
	if own, ok := b.(*buffer); ok && own.dev == d {
		return own
	}
	panic("cuda: " + op + ": a buffer of another device")
}

func (d *Device) weight(op string, w kernels.Weight) *weight {
	if own, ok := w.(*weight); ok && own.dev == d {
		return own
	}
	panic("cuda: " + op + ": a weight of another device")
}

func (d *Device) cache(op string, c kernels.KV) *kv {
	if own, ok := c.(*kv); ok && own.dev == d {
		return own
	}
	panic("cuda: " + op + ": a cache of another device")
}

// floats is where a buffer's data is, 0 for none.
func (d *Device) floats(op string, b kernels.Buffer) uint64 {
	if b == nil {
		return 0
	}
	return d.buffer(op, b).data
}

// table is where a Float's data is, 0 for none.
func (d *Device) table(op string, w kernels.Weight) uint64 {
	if w == nil {
		return 0
	}
	own := d.weight(op, w)
	if !own.table() {
		panic("cuda: " + op + ": a Matrix where a Float belongs")
	}
	return own.c.data
}

// fits checks the step against c once and reports whether it fits. A step that is
// captured is of nobody's sequences: Decode checks those that run it.
func (d *Device) fits(c *kv) bool {
	if d.recording != nil {
		d.recording.uses(c)
		return true
	}
	if d.kv != c {
		if d.err = d.step.CheckKV(c.shape); d.err != nil {
			return false
		}
		d.kv = c
	}
	return true
}

// Embed, as kernels.Ops has it.
func (d *Device) Embed(out kernels.Buffer, tokens, positions kernels.Weight) {
	if !d.begun() {
		return
	}
	if d.err = kernels.CheckEmbed(d.step, out, tokens, positions); d.err != nil {
		return
	}
	to, t := d.buffer("Embed", out), d.weight("Embed", tokens)
	if d.step.From != nil && d.last.vocab > int(t.c.n) {
		panic("cuda: Embed: a table of fewer rows than the ids that were drawn")
	}
	d.in.weight = t.c
	second := uintptr(0)
	if positions != nil {
		d.in.positions = d.weight("Embed", positions).c
		second = address(&d.in.positions)
	}
	if g := d.recording; g != nil {
		g.vocab = min(g.vocab, int(t.c.n))
		if positions != nil {
			g.positions = min(g.positions, int(d.in.positions.n))
		}
	}
	d.err = d.do("Embed", fnEmbed, d.ctx, uintptr(to.data), address(&d.in.weight), second)
}

// Norm, as kernels.Ops has it.
func (d *Device) Norm(out, x, delta kernels.Buffer, n kernels.Norm, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckNorm(out, x, delta, n, rows)
	if rows == 0 {
		return
	}
	in := d.buffer("Norm", x)
	d.in.norm = cNorm{out: d.floats("Norm", out), x: in.data, delta: d.floats("Norm", delta),
		weight: d.table("Norm", n.Weight), bias: d.table("Norm", n.Bias),
		eps: n.Eps, mean: int32(flag(n.Mean)), rows: int32(rows), width: int32(in.cols)}
	d.err = d.do("Norm", fnNorm, d.ctx, address(&d.in.norm))
}

// MatMul, as kernels.Ops has it.
func (d *Device) MatMul(out, x kernels.Buffer, w, bias kernels.Weight, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckMatMul(out, x, w, bias, rows)
	m := d.weight("MatMul", w)
	if m.table() {
		panic("cuda: MatMul: w was not loaded as a Matrix")
	}
	to, from, b := d.buffer("MatMul", out), d.buffer("MatMul", x), d.table("MatMul", bias)
	if rows == 0 {
		return
	}
	d.in.weight = m.c
	d.err = d.do("MatMul", fnMatMul, d.ctx, uintptr(to.data), uintptr(from.data), address(&d.in.weight), uintptr(b), uintptr(rows))
}

// heads writes what attention's functions share.
func (d *Device) heads(c *kv, a kernels.Attn) {
	d.in.kv = c.c
	d.in.attn = cAttn{heads: int32(a.Heads), kvHeads: int32(a.KVHeads), headDim: int32(a.HeadDim), window: int32(a.Window), scale: a.Scale}
}

// StoreKV, as kernels.Ops has it.
func (d *Device) StoreKV(qkv kernels.Buffer, cache kernels.KV, layer int, r kernels.Rope, a kernels.Attn) {
	if !d.begun() {
		return
	}
	if d.err = kernels.CheckStoreKV(d.step, qkv, cache, layer, r, a); d.err != nil {
		return
	}
	c, in := d.cache("StoreKV", cache), d.buffer("StoreKV", qkv)
	if !d.fits(c) {
		return
	}
	angles := uint64(0)
	if r.Dims > 0 {
		angles = d.table("StoreKV", r.Table)
		if g := d.recording; g != nil {
			n, _ := r.Table.Dims()
			g.positions = min(g.positions, n)
		}
	}
	d.heads(c, a)
	d.err = d.do("StoreKV", fnStoreKV, d.ctx, uintptr(in.data), address(&d.in.kv), uintptr(layer), uintptr(r.Dims),
		uintptr(angles), address(&d.in.attn))
}

// Attention, as kernels.Ops has it.
func (d *Device) Attention(out, qkv kernels.Buffer, cache kernels.KV, layer int, a kernels.Attn) {
	if !d.begun() {
		return
	}
	if d.err = kernels.CheckAttention(d.step, out, qkv, cache, layer, a); d.err != nil {
		return
	}
	c, to, in := d.cache("Attention", cache), d.buffer("Attention", out), d.buffer("Attention", qkv)
	if !d.fits(c) {
		return
	}
	if g := d.recording; g != nil {
		g.sees(a.Window)
	}
	d.heads(c, a)
	d.err = d.do("Attention", fnAttention, d.ctx, uintptr(to.data), uintptr(in.data), address(&d.in.kv), uintptr(layer), address(&d.in.attn))
}

// Activate, as kernels.Ops has it.
func (d *Device) Activate(out, x kernels.Buffer, f kernels.Act, gated bool, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckActivate(out, x, f, gated, rows)
	to, from := d.buffer("Activate", out), d.buffer("Activate", x)
	if rows == 0 {
		return
	}
	d.err = d.do("Activate", fnActivate, d.ctx, uintptr(to.data), uintptr(from.data), uintptr(f), flag(gated), uintptr(rows), uintptr(to.cols))
}

// Add, as kernels.Ops has it.
func (d *Device) Add(x, y kernels.Buffer, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckAdd(x, y, rows)
	to, from := d.buffer("Add", x), d.buffer("Add", y)
	if rows == 0 {
		return
	}
	d.err = d.do("Add", fnAdd, d.ctx, uintptr(to.data), uintptr(from.data), uintptr(rows), uintptr(to.cols))
}

// Gather, as kernels.Ops has it.
func (d *Device) Gather(out, x, delta kernels.Buffer) {
	if !d.begun() {
		return
	}
	kernels.CheckGather(d.step, out, x, delta)
	to, from, change := d.buffer("Gather", out), d.buffer("Gather", x), d.floats("Gather", delta)
	if len(d.step.Out) == 0 {
		return
	}
	d.err = d.do("Gather", fnGather, d.ctx, uintptr(to.data), uintptr(from.data), uintptr(change), uintptr(from.cols))
}
