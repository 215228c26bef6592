package weights

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"

	"servebench/serving/weights/gguf"
)

// rope copies the rotation's base and scaling; dims elements of a head are rotated.
func (r *metadata) rope(dims int) {
	r.conf["rope_theta"] = float32(10000) // llama.cpp's default too
	if r.has("rope.freq_base") {
		r.number("rope_theta", "rope.freq_base")
	}
	scaling := config{}
	if kind, err := r.file.String(r.arch + "rope.scaling.type"); err == nil && kind != "none" {
		scaling["rope_type"] = kind
	}
	factor, err := r.file.Float(r.arch + "rope.scaling.factor")
	if errors.Is(err, gguf.ErrNoKey) { // files from before rope.scaling
		if factor, err = r.file.Float(r.arch + "rope.scale_linear"); err == nil && factor != 1 {
			scaling["rope_type"] = "linear"
		}
	}
	if err == nil {
		scaling["factor"] = float32(factor)
	}
	if n, err := r.file.Uint(r.arch + "rope.scaling.original_context_length"); err == nil {
		scaling["original_max_position_embeddings"] = n
	}
	for to, key := range map[string]string{
		"beta_fast": "rope.scaling.yarn_beta_fast", "beta_slow": "rope.scaling.yarn_beta_slow",
	} {
		if r.has(key) {
			x, err := r.file.Float(r.arch + key)
			if err != nil {
				r.fail(err)
			}
			scaling[to] = float32(x)
		}
	}
	for _, key := range []string{"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_ext_factor"} {
		if x, err := r.file.Float(r.arch + key); err == nil && x != 1 {
			r.fail(fmt.Errorf("%s%s %v has no equal in Transformers: not supported", r.arch, key, x))
		}
	}
	if x, err := r.file.Float(r.arch + "rope.scaling.yarn_log_multiplier"); err == nil && x != 0 {
		r.fail(fmt.Errorf("%srope.scaling.yarn_log_multiplier %v: not supported", r.arch, x))
	}
	if t, ok := r.file.Tensor("rope_freqs.weight"); ok && r.err == nil {
		theta, _ := r.conf["rope_theta"].(float32)
		found, err := llama3(t, dims, float64(theta))
		if err != nil {
			r.fail(fmt.Errorf("tensor %q: %w", t.Name, err))
		}
		if scaling = found; found == nil {
			return
		}
	}
	if scaling["rope_type"] != nil {
		r.conf["rope_scaling"] = scaling
	}
}

// llama3Error is how far, relatively, factors may be from those that parameters
// result in: the file has them in float32, computed by way of some five
// roundings of half of 2⁻²³ each.
const llama3Error = 1e-6

// llama3 finds the parameters of Llama 3.1's rope scaling. A file has only the
// factors by which they divide the rotation's dims/2 frequencies f:
//
//	1                                wavelengths 2π/f below original/high_freq_factor
//	factor                           above original/low_freq_factor
//	1/((1 − s)/factor + s)           between, s = (original·f/2π − low)/(high − low)
//
// s is linear in f, so that two frequencies between give original and high for a
// given low, which is 1 in every published model; one gives original for a high
// of 4, which all of them have too. Parameters are returned only
// if all factors follow from them; nil if all factors are 1.
func llama3(t gguf.Tensor, dims int, theta float64) (config, error) {
	if t.Type != gguf.F32 || len(t.Shape) != 1 || t.Shape[0] != dims/2 || dims < 2 {
		return nil, fmt.Errorf("%s of shape %v, want F32 of [%d]", t.Type, t.Shape, dims/2)
	}
	factors := make([]float64, dims/2)
	freqs := make([]float64, dims/2)
	for i := range factors {
		factors[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(t.Data()[4*i:])))
		freqs[i] = 1 / math.Pow(theta, float64(2*i)/float64(dims))
	}
	factor := slices.Max(factors)
	if factor == 1 && slices.Min(factors) == 1 {
		return nil, nil
	}
	for _, p := range llama3Candidates(factors, freqs, factor) {
		if p.explains(factors, freqs) {
			return config{
				"rope_type": "llama3", "factor": p.factor, "low_freq_factor": p.low, "high_freq_factor": p.high,
				"original_max_position_embeddings": int(p.original),
			}, nil
		}
	}
	return nil, errors.New("its factors are not those of Llama 3.1's rope scaling, the only one that is known here: convert the model from its safetensors folder, or serve that")
}

// llama3Scaling are the parameters in Transformers' config.json.
type llama3Scaling struct{ factor, low, high, original float64 }

// llama3Candidates are those of the published models, and what the factors say.
func llama3Candidates(factors, freqs []float64, factor float64) []llama3Scaling {
	all := []llama3Scaling{{factor, 1, 4, 8192}}
	var x, s []float64 // turns a token, and the share that is kept
	for i, f := range factors {
		if f > 1 && f < factor {
			x = append(x, freqs[i]/(2*math.Pi))
			s = append(s, (1/f-1/factor)/(1-1/factor))
		}
	}
	if len(x) == 0 {
		return all
	}
	all = append(all, llama3Scaling{factor, 1, 4, math.Round((1 + 3*s[0]) / x[0])})
	if len(x) == 1 {
		return all
	}
	// The two furthest apart give the line s = slope·x + (−low/(high − low)).
	last := len(x) - 1
	slope := (s[0] - s[last]) / (x[0] - x[last])
	offset := s[0] - slope*x[0]
	high := 1 - 1/offset
	// Whole numbers, and quarters, are what people choose.
	high = math.Round(4*high) / 4
	return append(all, llama3Scaling{factor, 1, high, math.Round(slope * (high - 1))})
}

// explains computes every factor in float32, as the file's converter does.
func (p llama3Scaling) explains(factors, freqs []float64) bool {
	if !(p.factor > 1 && p.high > p.low && p.original >= 1 && p.original < maxSize) {
		return false
	}
	for i, f := range freqs {
		wave, want := 2*math.Pi/f, 1.0
		switch {
		case wave > p.original/p.low:
			want = p.factor
		case wave >= p.original/p.high:
			smooth := (p.original/wave - p.low) / (p.high - p.low)
			want = 1 / ((1-smooth)/p.factor + smooth)
		}
		if !(math.Abs(factors[i]-want) <= llama3Error*want) {
			return false
		}
	}
	return true
}
