package weights

import (
	"embed"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"math"
	"strings"

	"servebench/kernels"
)

//go:embed known
var knownConfigs embed.FS

// known has the models whose configuration is built in: hub id to file.
var known = map[string]string{
	"openai-community/gpt2":               "known/gpt2.json",
	"HuggingFaceTB/SmolLM2-135M-Instruct": "known/smollm2-135m-instruct.json",
}

// aliases are other names that a known model goes by, in lower case.
var aliases = map[string]string{"gpt2": "openai-community/gpt2"}

// Known returns the canonical hub id of a model whose configuration is built
// in ("gpt2" gives "openai-community/gpt2"), and whether there is one.
func Known(model string) (id string, ok bool) {
	if id, ok := aliases[strings.ToLower(model)]; ok {
		return id, true
	}
	for id := range known {
		if strings.EqualFold(id, model) {
			return id, true
		}
	}
	return "", false
}

// knownConfig returns the built-in config.json of a canonical id.
func knownConfig(id string) (json.RawMessage, bool) {
	file, ok := known[id]
	if !ok {
		return nil, false
	}
	b, err := knownConfigs.ReadFile(file)
	return b, err == nil
}

// dummy has a tensor for every name, drawn from a seed.
type dummy struct {
	conf json.RawMessage
	seed uint64
	// residual scales the matrices whose products are added to the residual
	// stream: 1/√(2·layers), as GPT-2 is initialised, so that the stream's and
	// the logits' size do not depend on the depth.
	residual float64
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
	return &dummy{conf: conf, seed: seed, residual: 1 / math.Sqrt(float64(2*layers))}, nil
}

func (d *dummy) Config() json.RawMessage { return d.conf }

func (d *dummy) Has(string) bool { return true }

func (d *dummy) Close() error { return nil }

// dummyStd is the standard deviation of weights and embeddings: Transformers' initializer_range.
const dummyStd = 0.02

// maxDummy bounds a tensor's elements, so that a configuration that lies gets an error.
const maxDummy = 1 << 36

// Tensor draws a tensor in bfloat16: ones for the weights of norms (vectors
// that are no bias), zeros for biases, else normal with dummyStd. The same
// seed, name and shape give the same bytes on every machine.
func (d *dummy) Tensor(name string, shape ...int) (kernels.Tensor, error) {
	n := 1
	for _, s := range shape {
		if s < 1 || n > maxDummy/s {
			return kernels.Tensor{}, fmt.Errorf("dummy tensor %q cannot have shape %v", name, shape)
		}
		n *= s
	}
	t := kernels.Tensor{Name: name, Shape: shape, DType: kernels.BF16, Data: make([]byte, 2*n)}
	switch {
	case strings.HasSuffix(name, ".bias"):
	case len(shape) < 2:
		const one = 0x3f80
		for i := range n {
			binary.LittleEndian.PutUint16(t.Data[2*i:], one)
		}
	default:
		std := dummyStd
		if addsToResidual(name) {
			std *= d.residual
		}
		key := dummyKey(d.seed, name)
		parallel(n, 1<<14, func(from, to int) { drawNormal(t.Data[2*from:2*to], key, uint64(from), std) })
	}
	return t, nil
}

// addsToResidual names the last matrix of attention and feed-forward.
func addsToResidual(name string) bool {
	for _, suffix := range []string{"c_proj.weight", "o_proj.weight", "down_proj.weight"} {
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

// drawNormal fills dst with bfloat16 numbers first, first+1, … of a sequence.
// Each is a 64-bit word's four 16-bit parts summed, which is near normal
// (|x| < 3.47·std), centred and scaled by one float32 product: integers and one
// correctly rounded product are the same everywhere, a logarithm is not.
func drawNormal(dst []byte, key, first uint64, std float64) {
	const (
		mean = 2 * math.MaxUint16 // of the sum of four
		dev  = 37837.227          // its deviation: √(4·(65536² − 1)/12)
	)
	scale := float32(std / dev)
	for i := range len(dst) / 2 {
		w := mix(key + (first+uint64(i))*0x9e3779b97f4a7c15)
		sum := w&0xffff + w>>16&0xffff + w>>32&0xffff + w>>48
		x := math.Float32bits(float32(int32(sum)-mean) * scale)
		x += 0x7fff + x>>16&1 // to the nearest bfloat16, ties to even
		binary.LittleEndian.PutUint16(dst[2*i:], uint16(x>>16))
	}
}

// mix is SplitMix64's output function (Steele, Lea, Flood 2014).
func mix(z uint64) uint64 {
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
