package weights

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"strings"
	"sync"

	"servebench/kernels"
)

// dummy has a tensor for every name, drawn from a seed.
type dummy struct {
	arena
	conf json.RawMessage
	seed uint64
	// plain and last are the numbers that matrices are drawn from. Those whose
	// products are added to the residual stream, last, are scaled by
	// 1/√(2·layers), as GPT-2 is initialised, so that the stream's and the
	// logits' size do not depend on the depth.
	plain, last func() *normal
}

func newDummy(conf json.RawMessage, seed uint64) (*dummy, error) {
	var c struct {
		GPT2  int `json:"n_layer"`
		Llama int `json:"num_hidden_layers"`
	}
	if err := json.Unmarshal(conf, &c); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	layers := max(c.GPT2, c.Llama, 1)
	residual := 1 / math.Sqrt(float64(2*layers))
	return &dummy{
		conf: conf, seed: seed,
		plain: sync.OnceValue(func() *normal { return newNormal(dummyStd) }),
		last:  sync.OnceValue(func() *normal { return newNormal(dummyStd * residual) }),
	}, nil
}

func (d *dummy) Config() json.RawMessage { return d.conf }

func (d *dummy) Has(string) bool { return true }

func (d *dummy) Close() error { d.drop(); return nil }

// dummyStd is the standard deviation of weights and embeddings: Transformers' initializer_range.
const dummyStd = 0.02

// maxDummy bounds a tensor's elements, so that a configuration that lies gets an error.
const maxDummy = 1 << 36

// Tensor draws a tensor in bfloat16: ones for the weights of norms (vectors
// that are no bias), zeros for biases, else normal with dummyStd. The same
// seed, name and shape give the same bytes on every machine.
func (d *dummy) Tensor(name string, shape ...int) (kernels.Tensor, error) {
	t, err := d.describe(name, shape...)
	if err != nil {
		return t, err
	}
	n := 1
	for _, s := range shape {
		n *= s
	}
	t.Data = d.take(2 * n)
	switch {
	case strings.HasSuffix(name, ".bias"):
		clear(t.Data)
	case len(shape) < 2:
		const one = 0x3f80
		for i := range n {
			binary.LittleEndian.PutUint16(t.Data[2*i:], one)
		}
	default:
		numbers := d.plain()
		if addsToResidual(name) {
			numbers = d.last()
		}
		key := dummyKey(d.seed, name)
		parallel(n, 1<<14, func(from, to int) { numbers.draw(t.Data[2*from:2*to], key, uint64(from)) })
	}
	return t, nil
}

// describe is Tensor without the data.
func (d *dummy) describe(name string, shape ...int) (kernels.Tensor, error) {
	n := 1
	for _, s := range shape {
		if s < 1 || n > maxDummy/s {
			return kernels.Tensor{}, fmt.Errorf("dummy tensor %q cannot have shape %v", name, shape)
		}
		n *= s
	}
	return kernels.Tensor{Name: name, Shape: shape, DType: kernels.BF16}, nil
}

// addsToResidual names the last matrix of attention and feed-forward.
func addsToResidual(name string) bool {
	for _, suffix := range []string{"c_proj.weight", "o_proj.weight", "down_proj.weight", "self_attn.dense.weight", "mlp.fc2.weight"} {
		if strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}

// dummyKey starts a tensor's own sequence.
func dummyKey(seed uint64, name string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(binary.LittleEndian.AppendUint64(nil, seed))
	_, _ = h.Write([]byte(name))
	return mix(h.Sum64())
}

// normal has near normal bfloat16 numbers, by the sum of four 16-bit integers
// (|x| < 3.47·std): the sum centred and scaled by one float32 product. Integers
// and one correctly rounded product are the same everywhere, a logarithm is
// not. The 512 KiB stay in the second-level cache, where a look-up costs less
// than the product and its rounding: 480 million numbers a second instead of 270
// on a core of Zen 4.
type normal [1 << 18]uint16

func newNormal(std float64) *normal {
	const (
		mean = 2 * math.MaxUint16 // of the sum of four
		dev  = 37837.227          // its deviation: √(4·(65536² − 1)/12)
	)
	scale := float32(std / dev)
	var n normal
	for sum := range 4*math.MaxUint16 + 1 {
		n[sum] = kernels.BF16FromF32(float32(sum-mean) * scale)
	}
	return &n
}

// draw fills dst with the bfloat16 numbers first, first+1, … of a sequence:
// each is looked up under the sum of the four parts of a 64-bit word.
func (n *normal) draw(dst []byte, key, first uint64) {
	var step uint64 = 0x9e3779b97f4a7c15 // SplitMix64's increment; multiples of it wrap around
	le := binary.LittleEndian
	at := key + first*step
	for len(dst) >= 8 {
		a, b, c, d := sum(mix(at)), sum(mix(at+step)), sum(mix(at+2*step)), sum(mix(at+3*step))
		le.PutUint64(dst, uint64(n[a])|uint64(n[b])<<16|uint64(n[c])<<32|uint64(n[d])<<48)
		dst, at = dst[8:], at+4*step
	}
	for ; len(dst) > 0; dst, at = dst[2:], at+step {
		le.PutUint16(dst, n[sum(mix(at))])
	}
}

// sum adds the four 16-bit parts of a word, two at a time.
func sum(w uint64) uint64 {
	const even = 0x0000ffff0000ffff
	two := w&even + w>>16&even
	return (two + two>>32) & (1<<18 - 1)
}

// mix is SplitMix64's output function (Steele, Lea, Flood 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
