//go:build cgo && linux && amd64

package cpu

/*
#cgo noescape cpu_embed
#cgo nocallback cpu_embed
#cgo noescape cpu_norm
#cgo nocallback cpu_norm
#cgo noescape cpu_matmul
#cgo nocallback cpu_matmul
#cgo noescape cpu_store_kv
#cgo nocallback cpu_store_kv
#cgo noescape cpu_attention
#cgo nocallback cpu_attention
#cgo noescape cpu_activate
#cgo nocallback cpu_activate
#cgo noescape cpu_add
#cgo nocallback cpu_add
#cgo noescape cpu_gather
#cgo nocallback cpu_gather
#cgo noescape cpu_vexp
#cgo nocallback cpu_vexp
#include "cpu.h"
*/
import "C"

import (
	"unsafe"

	"servebench/kernels"
)

// begun reports whether an operation of the step should run.
func (d *device) begun() bool {
	if d.step == nil {
		panic("cpu: an operation outside of Begin and End")
	}
	return d.err == nil
}

// buffer, weight and cache unwrap what this device made. Anything else is a
// caller's bug: C would read memory that is not there.
func (d *device) buffer(op string, b kernels.Buffer) *buffer {
	if own, ok := b.(*buffer); ok && own.dev == d {
		return own
	}
	panic("cpu: " + op + ": a buffer of another device")
}

func (d *device) weight(op string, w kernels.Weight) *weight {
	if own, ok := w.(*weight); ok && own.dev == d {
		return own
	}
	panic("cpu: " + op + ": a weight of another device")
}

func (d *device) cache(op string, c kernels.KV) *kv {
	if own, ok := c.(*kv); ok && own.dev == d {
		return own
	}
	panic("cpu: " + op + ": a cache of another device")
}

// floats is the data of a buffer, nil for none.
func (d *device) floats(op string, b kernels.Buffer) *C.float {
	if b == nil {
		return nil
	}
	return d.buffer(op, b).data
}

// table is the data of a Float, nil for none.
func (d *device) table(op string, w kernels.Weight) *C.float {
	if w == nil {
		return nil
	}
	own := d.weight(op, w)
	if own.c.packed != 0 {
		panic("cpu: " + op + ": a Matrix where a Float belongs")
	}
	return (*C.float)(own.c.data)
}

// fits checks the step against c once and reports whether it fits.
func (d *device) fits(c *kv) bool {
	if d.kv != c {
		if d.err = d.step.CheckKV(c.shape); d.err != nil {
			return false
		}
		d.kv = c
	}
	return true
}

// scratch keeps the error of an operation that found no memory for its scratch.
func (d *device) scratch(ok C.int) {
	if ok == 0 {
		d.err = errMemory
	}
}

func heads(a kernels.Attn) C.cpu_attn {
	return C.cpu_attn{heads: C.int32_t(a.Heads), kv_heads: C.int32_t(a.KVHeads),
		head_dim: C.int32_t(a.HeadDim), window: C.int32_t(a.Window), scale: C.float(a.Scale)}
}

func flag(b bool) C.int {
	if b {
		return 1
	}
	return 0
}

func (d *device) Embed(out kernels.Buffer, tokens, positions kernels.Weight) {
	if !d.begun() {
		return
	}
	if d.err = kernels.CheckEmbed(d.step, out, tokens, positions); d.err != nil {
		return
	}
	var pos *C.cpu_weight
	if positions != nil {
		pos = d.weight("Embed", positions).c
	}
	C.cpu_embed(d.c, d.floats("Embed", out), d.weight("Embed", tokens).c, pos)
}

func (d *device) Norm(out, x, delta kernels.Buffer, n kernels.Norm, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckNorm(out, x, delta, n, rows)
	in := d.buffer("Norm", x)
	C.cpu_norm(d.c, d.floats("Norm", out), in.data, d.floats("Norm", delta), d.table("Norm", n.Weight),
		d.table("Norm", n.Bias), C.float(n.Eps), flag(n.Mean), C.int(rows), C.int(in.cols))
}

func (d *device) MatMul(out, x kernels.Buffer, w, bias kernels.Weight, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckMatMul(out, x, w, bias, rows)
	m := d.weight("MatMul", w)
	if m.c.packed == 0 {
		panic("cpu: MatMul: w was not loaded as a Matrix")
	}
	d.scratch(C.cpu_matmul(d.c, d.floats("MatMul", out), d.floats("MatMul", x), m.c, d.table("MatMul", bias), C.int(rows)))
}

func (d *device) StoreKV(qkv kernels.Buffer, cache kernels.KV, layer int, r kernels.Rope, a kernels.Attn) {
	if !d.begun() {
		return
	}
	if d.err = kernels.CheckStoreKV(d.step, qkv, cache, layer, r, a); d.err != nil {
		return
	}
	c := d.cache("StoreKV", cache)
	if !d.fits(c) {
		return
	}
	var angles *C.float
	if r.Dims > 0 {
		angles = d.table("StoreKV", r.Table)
	}
	C.cpu_store_kv(d.c, d.floats("StoreKV", qkv), c.c, C.int(layer), C.int(r.Dims), angles, heads(a))
}

func (d *device) Attention(out, qkv kernels.Buffer, cache kernels.KV, layer int, a kernels.Attn) {
	if !d.begun() {
		return
	}
	if d.err = kernels.CheckAttention(d.step, out, qkv, cache, layer, a); d.err != nil {
		return
	}
	c := d.cache("Attention", cache)
	if !d.fits(c) {
		return
	}
	d.scratch(C.cpu_attention(d.c, d.floats("Attention", out), d.floats("Attention", qkv), c.c, C.int(layer), heads(a)))
}

func (d *device) Activate(out, x kernels.Buffer, f kernels.Act, gated bool, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckActivate(out, x, f, gated, rows)
	o := d.buffer("Activate", out)
	C.cpu_activate(d.c, o.data, d.floats("Activate", x), C.int(f), flag(gated), C.int(rows), C.int(o.cols))
}

func (d *device) Add(x, y kernels.Buffer, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckAdd(x, y, rows)
	to := d.buffer("Add", x)
	C.cpu_add(d.c, to.data, d.floats("Add", y), C.int(rows), C.int(to.cols))
}

func (d *device) Gather(out, x, delta kernels.Buffer) {
	if !d.begun() {
		return
	}
	kernels.CheckGather(d.step, out, x, delta)
	in := d.buffer("Gather", x)
	C.cpu_gather(d.c, d.floats("Gather", out), in.data, d.floats("Gather", delta), C.int(in.cols))
}

// exp is the kernels' exponential, for its test: dst[i] = exp(src[i]).
func exp(s set, dst, src []float32) {
	C.cpu_vexp(s.id, (*C.float)(unsafe.SliceData(dst)), (*C.float)(unsafe.SliceData(src)), C.int(len(src)))
}
