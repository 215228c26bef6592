package ref

import (
	"math"

	"servebench/kernels"
)

func (d *device) Embed(out kernels.Buffer, tokens, positions kernels.Weight) {
	if !d.begun() {
		return
	}
	if d.err = kernels.CheckEmbed(d.step, out, tokens, positions); d.err != nil {
		return
	}
	table, o := tokens.(*weight), out.(*buffer)
	for t, id := range d.step.Tokens {
		row := o.row(t)
		copy(row, table.row(id))
		if positions == nil {
			continue
		}
		for i, p := range positions.(*weight).row(d.step.Positions[t]) {
			row[i] += p
		}
	}
}

func (d *device) Norm(out, x, delta kernels.Buffer, n kernels.Norm, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckNorm(out, x, delta, n, rows)
	o, in, w := out.(*buffer), x.(*buffer), n.Weight.(*weight).data
	spread(rows, 8*in.cols, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row, to := in.row(t), o.row(t)
			if delta != nil {
				add(row, delta.(*buffer).row(t))
			}
			mean, scale := moments(row, n)
			for i, v := range row {
				y := (float64(v) - mean) * scale * float64(w[i])
				if n.Bias != nil {
					y += float64(n.Bias.(*weight).data[i])
				}
				to[i] = float32(y)
			}
		}
	})
}

// moments returns what Norm subtracts from a row and multiplies it by.
func moments(row []float32, n kernels.Norm) (mean, scale float64) {
	size := float64(len(row))
	if n.Mean {
		for _, v := range row {
			mean += float64(v)
		}
		mean /= size
	}
	var squares float64
	for _, v := range row {
		squares += (float64(v) - mean) * (float64(v) - mean)
	}
	return mean, 1 / math.Sqrt(squares/size+float64(n.Eps))
}

func (d *device) MatMul(out, x kernels.Buffer, w, bias kernels.Weight, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckMatMul(out, x, w, bias, rows)
	o, m := out.(*buffer), w.(*weight)
	if !m.matrix {
		panic("ref: MatMul: w was not loaded as a Matrix")
	}
	in := x.(*buffer).data[:rows*m.k]
	if d.dtype != kernels.F32 {
		d.input = append(d.input[:0], in...)
		in = d.input
		for i, v := range in {
			in[i] = d.round(v)
		}
	}
	// All rows of a range of n, so that a range of w is read from memory once.
	spread(m.n, rows*m.k, func(lo, hi int) {
		for n := lo; n < hi; n++ {
			wn := m.data[n*m.k:][:m.k]
			for t := range rows {
				y := dot(in[t*m.k:][:m.k], wn)
				if bias != nil {
					y += float64(bias.(*weight).data[n])
				}
				o.data[t*m.n+n] = float32(y)
			}
		}
	})
}

// dot is Σ a[i]·b[i]. Two sums hide the latency of the additions.
func dot(a, b []float32) float64 {
	b = b[:len(a)]
	var even, odd float64
	i := 0
	for ; i+1 < len(a); i += 2 {
		even += float64(a[i]) * float64(b[i])
		odd += float64(a[i+1]) * float64(b[i+1])
	}
	if i < len(a) {
		even += float64(a[i]) * float64(b[i])
	}
	return even + odd
}

func (d *device) StoreKV(qkv kernels.Buffer, cache kernels.KV, layer int, r kernels.Rope, a kernels.Attn) {
	if !d.begun() {
		return
	}
	if d.err = kernels.CheckStoreKV(d.step, qkv, cache, layer, r, a); d.err != nil {
		return
	}
	c, in := cache.(*kv), qkv.(*buffer)
	if !d.fits(c) {
		return
	}
	for t, slot := range d.step.Slots {
		row := in.row(t)
		if r.Dims > 0 {
			angles := r.Table.(*weight).row(d.step.Positions[t])
			for h := range a.Heads + a.KVHeads {
				rotate(row[h*a.HeadDim:][:r.Dims], angles)
			}
		}
		keys := row[a.Heads*a.HeadDim:]
		values := keys[a.KVHeads*a.HeadDim:]
		at := c.at(layer, int(slot), 0)
		for i := range a.KVHeads * a.HeadDim {
			c.keys[at+i] = d.round(keys[i])
			c.values[at+i] = d.round(values[i])
		}
	}
}

// rotate turns the pairs (v[i], v[i+half]) by the angles whose cosines, then
// sines, are given.
func rotate(v, angles []float32) {
	half := len(v) / 2
	for i := range half {
		x, y := float64(v[i]), float64(v[i+half])
		c, s := float64(angles[i]), float64(angles[i+half])
		v[i], v[i+half] = float32(x*c-y*s), float32(y*c+x*s)
	}
}

func (d *device) Attention(out, qkv kernels.Buffer, cache kernels.KV, layer int, a kernels.Attn) {
	if !d.begun() {
		return
	}
	if d.err = kernels.CheckAttention(d.step, out, qkv, cache, layer, a); d.err != nil {
		return
	}
	c, in, o, s := cache.(*kv), qkv.(*buffer), out.(*buffer), d.step
	if !d.fits(c) {
		return
	}
	for q := range s.Lens {
		blocks := s.Blocks[q*s.MaxBlocks:][:s.MaxBlocks]
		first := int(s.Starts[q])
		rows := int(s.Starts[q+1]) - first
		spread(rows*a.Heads, 2*int(s.Lens[q])*a.HeadDim, func(lo, hi int) {
			var scores, sums []float64
			query := make([]float32, a.HeadDim)
			for i := lo; i < hi; i++ {
				t, h := first+i/a.Heads, i%a.Heads
				for j, v := range in.row(t)[h*a.HeadDim:][:a.HeadDim] {
					query[j] = d.round(v)
				}
				scores, sums = c.attend(scores, sums, o.row(t)[h*a.HeadDim:][:a.HeadDim],
					query, blocks, int(s.Positions[t]), layer, h/(a.Heads/a.KVHeads), a)
			}
		})
	}
}

// attend writes one head of one row: query and out are [E], blocks the
// sequence's, p the row's position, g its key/value head. scores and sums are
// scratch, returned for the next call.
func (c *kv) attend(scores, sums []float64, out, query []float32, blocks []int32, p, layer, g int,
	a kernels.Attn) (_, _ []float64) {
	from := 0
	if a.Window > 0 {
		from = max(0, p-a.Window+1)
	}
	head := func(j int) int {
		slot := int(blocks[j/c.shape.BlockSize])*c.shape.BlockSize + j%c.shape.BlockSize
		return c.at(layer, slot, g)
	}
	scores = scores[:0]
	top := math.Inf(-1)
	for j := from; j <= p; j++ {
		score := dot(query, c.keys[head(j):][:a.HeadDim]) * float64(a.Scale)
		top = max(top, score)
		scores = append(scores, score)
	}
	sums = append(sums[:0], make([]float64, a.HeadDim)...)
	var total float64
	for i, score := range scores {
		e := math.Exp(score - top)
		total += e
		for k, v := range c.values[head(from+i):][:a.HeadDim] {
			sums[k] += e * float64(v)
		}
	}
	for k := range out {
		out[k] = float32(sums[k] / total)
	}
	return scores, sums
}

func (d *device) Activate(out, x kernels.Buffer, f kernels.Act, gated bool, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckActivate(out, x, f, gated, rows)
	o, in := out.(*buffer), x.(*buffer)
	spread(rows, 32*o.cols, func(lo, hi int) {
		for t := lo; t < hi; t++ {
			row := in.row(t)
			for i := range o.row(t) {
				y := activation(f, float64(row[i]))
				if gated {
					y *= float64(row[o.cols+i])
				}
				o.row(t)[i] = float32(y)
			}
		}
	})
}

func activation(f kernels.Act, x float64) float64 {
	if f == kernels.SiLU {
		return x / (1 + math.Exp(-x))
	}
	const root2OverPi = 0.797884560802865355879892119868763737 // √(2/π)
	return 0.5 * x * (1 + math.Tanh(root2OverPi*(x+0.044715*x*x*x)))
}

func (d *device) Add(x, y kernels.Buffer, rows int) {
	if !d.begun() {
		return
	}
	kernels.CheckAdd(x, y, rows)
	for t := range rows {
		add(x.(*buffer).row(t), y.(*buffer).row(t))
	}
}

func (d *device) Gather(out, x, delta kernels.Buffer) {
	if !d.begun() {
		return
	}
	kernels.CheckGather(d.step, out, x, delta)
	for i, t := range d.step.Out {
		row := out.(*buffer).row(i)
		copy(row, x.(*buffer).row(int(t)))
		if delta != nil {
			add(row, delta.(*buffer).row(int(t)))
		}
	}
}

// add adds b to a.
func add(a, b []float32) {
	for i, v := range b {
		a[i] += v
	}
}
