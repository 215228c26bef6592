package weights

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"sync"

	"servebench/kernels"
	"servebench/serving/weights/gguf"
)

// restoring undoes what llama.cpp's convert_hf_to_gguf.py did to a tensor.
type restoring struct {
	// heads, if not 0, are those whose rows were interleaved: the converter
	// moved row j·E/2 + i of each head (j in 0, 1; i < E/2) to row 2·i + j,
	// because llama.cpp rotates neighbours where Transformers rotates halves.
	heads     int
	transpose bool // [in, out] in Transformers
	rows      span // the only rows that are wanted; n 0 is all. Not with the others
}

// ggufDTypes are the types that need no dequantising.
var ggufDTypes = map[gguf.Type]kernels.DType{gguf.F32: kernels.F32, gguf.F16: kernels.F16, gguf.BF16: kernels.BF16}

// restore returns a tensor's elements: the mapped bytes where nothing was done
// to them, else a copy in mem. Quantised types come as float32.
func (how restoring) restore(mem *arena, t gguf.Tensor) ([]byte, kernels.DType, error) {
	rows, cols := t.Rows()
	if len(t.Shape) == 1 {
		rows, cols = cols, 1 // a bias has the row order of its matrix
	}
	if how.heads > 0 && rows%(2*how.heads) != 0 {
		return nil, 0, fmt.Errorf("%d rows (%s in GGUF) are not %d heads of an even width", rows, t.Name, how.heads)
	}
	if how.rows.n == 0 {
		how.rows.n = rows
	}
	var data []byte
	dtype, plain := ggufDTypes[t.Type]
	if plain {
		size := cols * dtype.Size()
		data = t.Data()[how.rows.first*size : (how.rows.first+how.rows.n)*size]
	} else {
		var err error
		if data, err = dequantize(mem, t, how.rows); err != nil {
			return nil, 0, err
		}
		dtype = kernels.F32
	}
	if how.heads > 0 {
		out := mem.take(len(data))
		deinterleave(out, data, rows, cols*dtype.Size(), how.heads)
		mem.Recycle(data)
		data = out
	}
	if how.transpose {
		out := mem.take(len(data))
		transpose(out, data, rows, cols, dtype.Size())
		mem.Recycle(data)
		data = out
	}
	return data, dtype, nil
}

// dequantize returns rows as float32; those of a vector are its elements.
func dequantize(mem *arena, t gguf.Tensor, rows span) ([]byte, error) {
	if err := t.Dequantize(nil, 0, 0); err != nil { // before the memory is taken
		return nil, err
	}
	all, cols := t.Rows()
	vector := len(t.Shape) == 1
	want := rows
	if vector { // quantised in blocks that rows may cut through
		want = span{0, all}
	}
	out := mem.take(4 * want.n * cols)
	parallel(want.n, 1+1<<16/cols, func(from, to int) {
		_ = t.Dequantize(out[4*from*cols:4*to*cols], want.first+from, to-from) // the type is known by now
	})
	if vector { // the wanted elements first, where the memory that was lent begins
		copy(out, out[4*rows.first:4*(rows.first+rows.n)])
		out = out[:4*rows.n]
	}
	return out, nil
}

// deinterleave puts the rows of every head back in Transformers' order.
func deinterleave(out, data []byte, rows, size, heads int) {
	width := rows / heads
	for to := range rows {
		head, row := to/width*width, to%width
		from := head + row%(width/2)*2 + row/(width/2)
		copy(out[to*size:(to+1)*size], data[from*size:])
	}
}

// transpose turns [rows, cols] elements of size bytes (2 or 4) into [cols, rows].
func transpose(out, data []byte, rows, cols, size int) {
	// A tile of both sides stays in the first-level cache: 64·64·4 bytes are 16 KiB.
	const tile = 64
	le := binary.LittleEndian
	parallel((rows+tile-1)/tile, 1, func(from, to int) {
		for r0 := from * tile; r0 < min(to*tile, rows); r0 += tile {
			for c0 := 0; c0 < cols; c0 += tile {
				for c := c0; c < min(c0+tile, cols); c++ {
					for r := r0; r < min(r0+tile, rows); r++ {
						src, dst := (r*cols+c)*size, (c*rows+r)*size
						if size == 2 {
							le.PutUint16(out[dst:], le.Uint16(data[src:]))
						} else {
							le.PutUint32(out[dst:], le.Uint32(data[src:]))
						}
					}
				}
			}
		}
	})
}

// parallel splits [0, n) over the processors, in pieces of at least grain.
func parallel(n, grain int, work func(from, to int)) {
	pieces := max(1, min(runtime.GOMAXPROCS(0), n/max(grain, 1)))
	var wg sync.WaitGroup
	for p := range pieces {
		wg.Go(func() { work(p*n/pieces, (p+1)*n/pieces) })
	}
	wg.Wait()
}
