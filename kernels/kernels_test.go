package kernels

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Every half-precision value survives the way to float32 and back.
func TestHalfRoundTrip(t *testing.T) {
	for i := range 1 << 16 {
		h := uint16(i)
		for _, c := range []struct {
			name  string
			widen func(uint16) float32
			round func(float32) uint16
			exp   uint16 // all ones: infinity or NaN
		}{{"bfloat16", F32FromBF16, BF16FromF32, 0x7f80}, {"float16", F32FromF16, F16FromF32, 0x7c00}} {
			f := c.widen(h)
			if h&c.exp == c.exp && h&^(c.exp|0x8000) != 0 {
				require.True(t, f != f, "%s %#04x is NaN", c.name, h)
				back := c.widen(c.round(f))
				require.True(t, back != back, "%s %#04x stays NaN", c.name, h)
				continue
			}
			require.Equal(t, h, c.round(f), "%s %#04x is %v", c.name, h, f)
		}
	}
}

// Rounding goes to the nearest of the two neighbours, to the even one in the middle.
func TestHalfRounding(t *testing.T) {
	for _, c := range []struct {
		name  string
		widen func(uint16) float32
		round func(float32) uint16
		top   uint16 // the largest finite value
	}{{"bfloat16", F32FromBF16, BF16FromF32, 0x7f7f}, {"float16", F32FromF16, F16FromF32, 0x7bff}} {
		for h := uint16(0); h < c.top; h++ {
			low, high := c.widen(h), c.widen(h+1)
			middle := float32((float64(low) + float64(high)) / 2)
			below, above := math.Nextafter32(middle, low), math.Nextafter32(middle, high)
			even := h + h&1
			for sign, bit := range map[float32]uint16{1: 0, -1: 0x8000} {
				require.Equal(t, even|bit, c.round(sign*middle), "%s: middle of %v and %v", c.name, low, high)
				require.Equal(t, h|bit, c.round(sign*below), "%s: below the middle of %v and %v", c.name, low, high)
				require.Equal(t, (h+1)|bit, c.round(sign*above), "%s: above the middle of %v and %v", c.name, low, high)
			}
		}
		assert.Equal(t, c.top+1, c.round(math.MaxFloat32), "%s: too large is infinite", c.name)
	}
	assert.Equal(t, float32(1.0078125), RoundBF16(1.0079))
}

func TestTensorFloat32(t *testing.T) {
	for _, c := range []struct {
		dtype DType
		data  []byte
	}{
		{F32, []byte{0, 0, 0, 0, 0, 0, 0xc0, 0xbf}},
		{BF16, []byte{0, 0, 0xc0, 0xbf}},
		{F16, []byte{0, 0, 0x00, 0xbe}},
	} {
		tensor := Tensor{Name: "x", Shape: []int{2}, DType: c.dtype, Data: c.data}
		require.NoError(t, tensor.Check())
		assert.Equal(t, float32(-1.5), tensor.Float32(1), c.dtype.String())
	}
	assert.Equal(t, "DType(9)", DType(9).String())
}

// Check must bound every index that a device computes from a step, whatever
// the numbers are.
func FuzzStep(f *testing.F) {
	f.Add([]byte{0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 3, 3, 0, 1}, 3, 1, 1, 1, 4, 0)
	f.Add([]byte{0, 9, 5, 0, 1, 10, 255, 255, 1, 0}, 1, 1, 3, 1, 4, 2)
	f.Fuzz(func(t *testing.T, raw []byte, tokens, seqs, maxBlocks, out, blockSize, window int) {
		take := func(n int) []int32 {
			list := make([]int32, 0, 16)
			for range min(max(n, 0), 16) {
				if len(raw) == 0 {
					break
				}
				list = append(list, int32(int8(raw[0])))
				raw = raw[1:]
			}
			return list
		}
		s := &Step{Tokens: take(tokens), Positions: take(tokens), Slots: take(tokens), Starts: take(seqs + 1),
			Lens: take(seqs), Blocks: take(seqs * maxBlocks), MaxBlocks: maxBlocks, Out: take(out), Window: window}
		sh := KVShape{Layers: 1, Blocks: 8, BlockSize: blockSize, KVHeads: 1, HeadDim: 1}
		if s.Check() != nil || sh.Check() != nil || s.CheckKV(sh) != nil {
			return
		}
		for q := range s.Lens {
			require.Less(t, s.Starts[q], s.Starts[q+1])
			for row := s.Starts[q]; row < s.Starts[q+1]; row++ {
				p := int(s.Positions[row])
				block := int(s.Blocks[q*s.MaxBlocks+p/blockSize])
				require.True(t, p >= 0 && p < int(s.Lens[q]) && block >= 0 && block < sh.Blocks)
				require.Equal(t, block*blockSize+p%blockSize, int(s.Slots[row]))
				for seen := range p + 1 {
					b := int(s.Blocks[q*s.MaxBlocks+seen/blockSize])
					if window == 0 || seen > p-window {
						require.True(t, b >= 0 && b < sh.Blocks)
					}
				}
			}
		}
		for _, row := range s.Out {
			require.True(t, row >= 0 && int(row) < len(s.Tokens))
		}
	})
}
