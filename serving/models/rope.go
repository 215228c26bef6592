package models

import (
	"encoding/binary"
	"fmt"
	"math"

	"servebench/kernels"
)

// ropeConfig is what a config.json says of rotary positions. From version 5 on
// Transformers keeps it in rope_parameters; before, the base stood beside the
// other fields and what changes the frequencies in rope_scaling.
type ropeConfig struct {
	Theta    *float64        `json:"rope_theta"`
	Partial  *float64        `json:"partial_rotary_factor"`
	Original *float64        `json:"original_max_position_embeddings"`
	Scaling  *ropeParameters `json:"rope_scaling"`
	Rope     *ropeParameters `json:"rope_parameters"`
}

type ropeParameters struct {
	Type       string    `json:"rope_type"`
	OldType    string    `json:"type"` // before version 4.43
	Theta      *float64  `json:"rope_theta"`
	Partial    *float64  `json:"partial_rotary_factor"`
	Factor     *float64  `json:"factor"`
	Original   *float64  `json:"original_max_position_embeddings"`
	LowFreq    *float64  `json:"low_freq_factor"`  // llama3
	HighFreq   *float64  `json:"high_freq_factor"` // llama3
	Attention  *float64  `json:"attention_factor"` // yarn, as all below
	BetaFast   *float64  `json:"beta_fast"`
	BetaSlow   *float64  `json:"beta_slow"`
	MScale     *float64  `json:"mscale"`
	MScaleAll  *float64  `json:"mscale_all_dim"`
	Truncate   *bool     `json:"truncate"`
	FullLayers *struct{} `json:"full_attention"` // rotations by type of layer
	SomeLayers *struct{} `json:"sliding_attention"`

	positions float64 // max_position_embeddings, from beside them
}

// rotation is a rotary embedding, checked and with its defaults filled in.
type rotation struct {
	dims      int     // leading elements of a head that are rotated
	theta     float64 // base
	magnitude float64 // multiplies cosines and sines
	// frequency is the angle by which a position turns pair i, given the
	// base's power theta^(2i/dims): 1/power unless scaled. In float32 and in
	// Transformers' order, since an angle is up to 10⁵ times a frequency.
	frequency func(i int, power float32) float32
}

// ropeScalings maps rope_type to what fills in a rotation's frequency and magnitude.
var ropeScalings = map[string]func(*rotation, ropeParameters) error{
	"default": (*rotation).unscaled,
	"linear":  (*rotation).linear,
	"dynamic": (*rotation).dynamic,
	"llama3":  (*rotation).llama3,
	"yarn":    (*rotation).yarn,
}

// rotation resolves the fields as Transformers does for a model of heads of
// headDim and positions (max_position_embeddings), of whose elements the
// fraction partial is rotated where the configuration does not say.
func (c ropeConfig) rotation(headDim, positions int, partial float64) (rotation, error) {
	var p ropeParameters
	if c.Rope != nil {
		p = *c.Rope
	}
	if c.Scaling != nil && *c.Scaling != (ropeParameters{}) {
		p = *c.Scaling
	}
	kind := firstOf(p.Type, p.OldType, "default")
	if p.FullLayers != nil || p.SomeLayers != nil {
		return rotation{}, fmt.Errorf("rope_parameters by type of layer are %w", ErrUnsupported)
	}
	scaling, ok := ropeScalings[kind]
	if !ok {
		return rotation{}, fmt.Errorf("rope scaling %q is %w; supported: %s", kind, ErrUnsupported, names(ropeScalings))
	}
	p.positions = float64(positions)
	p.Original = firstOf(c.Original, p.Original, &p.positions)
	r := rotation{theta: 10000, magnitude: 1}
	if theta := firstOf(p.Theta, c.Theta); theta != nil {
		r.theta = *theta
	}
	if f := firstOf(p.Partial, c.Partial); f != nil {
		partial = *f
	}
	r.dims = int(float64(headDim) * min(max(partial, 0), 1)) // truncated, as Transformers does
	switch {
	case !(r.theta > 1) || math.IsInf(r.theta, 0):
		return rotation{}, fmt.Errorf("%w: rope_theta is %v, not a number above 1", ErrConfig, r.theta)
	case !(partial > 0 && partial <= 1):
		return rotation{}, fmt.Errorf("%w: partial_rotary_factor is %v, not in (0, 1]", ErrConfig, partial)
	case r.dims < 2 || r.dims%2 != 0:
		return rotation{}, fmt.Errorf("%w: rotary positions need an even number of a head's elements, not %d of %d", ErrConfig, r.dims, headDim)
	}
	if err := scaling(&r, p); err != nil {
		return rotation{}, fmt.Errorf("rope scaling %q: %w", kind, err)
	}
	return r, nil
}

// firstOf returns the first value that is given.
func firstOf[T comparable](values ...T) T {
	var none T
	for _, v := range values {
		if v != none {
			return v
		}
	}
	return none
}

// positive checks parameters that a scaling cannot do without.
func positive(name string, v *float64) error {
	switch {
	case v == nil:
		return fmt.Errorf("%w: it has no %s", ErrConfig, name)
	case !(*v > 0) || math.IsInf(*v, 0):
		return fmt.Errorf("%w: %s is %v, not a number above 0", ErrConfig, name, *v)
	}
	return nil
}

func (r *rotation) unscaled(ropeParameters) error {
	r.frequency = func(_ int, power float32) float32 { return 1 / power }
	return nil
}

// linear divides every frequency by the factor: positions are interpolated.
func (r *rotation) linear(p ropeParameters) error {
	if err := positive("factor", p.Factor); err != nil {
		return err
	}
	factor := float32(*p.Factor)
	r.frequency = func(_ int, power float32) float32 { return 1 / power / factor }
	return nil
}

// dynamic leaves the frequencies as they are: Transformers raises the base with
// the length of a sequence, but only beyond max_position_embeddings, and no
// sequence here is longer. (Beyond, cached keys would have to be rotated anew.)
func (r *rotation) dynamic(p ropeParameters) error {
	if err := positive("factor", p.Factor); err != nil {
		return err
	}
	return r.unscaled(p)
}

// llama3 divides low frequencies by the factor, keeps high ones, and goes over
// from one to the other by wavelengths (Llama 3.1).
func (r *rotation) llama3(p ropeParameters) error {
	for _, f := range []struct {
		name  string
		value *float64
	}{
		{"factor", p.Factor}, {"low_freq_factor", p.LowFreq}, {"high_freq_factor", p.HighFreq},
		{"original_max_position_embeddings", p.Original},
	} {
		if err := positive(f.name, f.value); err != nil {
			return err
		}
	}
	if *p.HighFreq <= *p.LowFreq {
		return fmt.Errorf("%w: high_freq_factor %v is not above low_freq_factor %v", ErrConfig, *p.HighFreq, *p.LowFreq)
	}
	factor, low, old := float32(*p.Factor), float32(*p.LowFreq), float32(*p.Original)
	longest, shortest := float32(*p.Original / *p.LowFreq), float32(*p.Original / *p.HighFreq)
	between := float32(*p.HighFreq - *p.LowFreq)
	r.frequency = func(_ int, power float32) float32 {
		f := 1 / power
		wave := float32(2*math.Pi) / f
		switch {
		case wave > longest:
			return f / factor
		case wave < shortest:
			return f
		}
		smooth := (old/wave - low) / between
		return float32((1-smooth)*f/factor) + float32(smooth*f)
	}
	return nil
}

// yarn interpolates the frequencies that turn less than beta_slow times over the
// original context, keeps those that turn more than beta_fast times, blends
// between, and magnifies queries and keys (Peng et al., arXiv:2309.00071).
func (r *rotation) yarn(p ropeParameters) error {
	if err := positive("original_max_position_embeddings", p.Original); err != nil {
		return err
	}
	if p.Factor == nil {
		ratio := p.positions / *p.Original
		p.Factor = &ratio
	}
	if err := positive("factor", p.Factor); err != nil {
		return err
	}
	fast, slow := 32.0, 1.0
	if p.BetaFast != nil && *p.BetaFast != 0 {
		fast = *p.BetaFast
	}
	if p.BetaSlow != nil && *p.BetaSlow != 0 {
		slow = *p.BetaSlow
	}
	if !(fast > 0 && slow > 0) {
		return fmt.Errorf("%w: beta_fast %v and beta_slow %v must be above 0", ErrConfig, fast, slow)
	}
	// The pair of elements that turns so many times over the original context.
	pair := func(turns float64) float64 {
		return float64(r.dims) * math.Log(*p.Original/(turns*2*math.Pi)) / (2 * math.Log(r.theta))
	}
	low, high := pair(fast), pair(slow)
	if p.Truncate == nil || *p.Truncate {
		low, high = math.Floor(low), math.Ceil(high)
	}
	low, high = max(low, 0), min(high, float64(r.dims-1))
	if low == high {
		high += 0.001 // as the original has it, against a division by 0
	}
	r.magnitude = yarnMagnitude(p)
	if !(r.magnitude > 0) || math.IsInf(r.magnitude, 0) {
		return fmt.Errorf("%w: attention_factor comes to %v", ErrConfig, r.magnitude)
	}
	from, width, factor := float32(low), float32(high-low), float32(*p.Factor)
	r.frequency = func(i int, power float32) float32 {
		keep := 1 - min(max((float32(i)-from)/width, 0), 1)
		return float32(1/(factor*power)*(1-keep)) + float32(1/power*keep)
	}
	return nil
}

// yarnMagnitude is what cosines and sines are multiplied by.
func yarnMagnitude(p ropeParameters) float64 {
	if p.Attention != nil {
		return *p.Attention
	}
	of := func(scale float64) float64 {
		if *p.Factor <= 1 {
			return 1
		}
		return 0.1*scale*math.Log(*p.Factor) + 1
	}
	if p.MScale != nil && *p.MScale != 0 && p.MScaleAll != nil && *p.MScaleAll != 0 {
		return of(*p.MScale) / of(*p.MScaleAll)
	}
	return of(1)
}

// frequencies returns the angles by which a position turns each pair of elements.
func (r rotation) frequencies() []float32 {
	f := make([]float32, r.dims/2)
	for i := range f {
		f[i] = r.frequency(i, float32(math.Pow(r.theta, float64(float32(2*i)/float32(r.dims)))))
	}
	return f
}

// maxRotations bounds a table's elements: 2 GiB, a context of 4 Mi tokens for heads of 128.
const maxRotations = 1 << 29

// rope loads the table of every position, as Transformers computes it:
// frequencies 1/theta^(2i/dims) and angles in float32, then the sine and cosine
// of those angles.
func (l *loader) rope(r rotation) kernels.Rope {
	if l.err != nil {
		return kernels.Rope{}
	}
	positions, dims, half := l.positions, r.dims, r.dims/2
	if positions > maxRotations/dims {
		l.err = fmt.Errorf("a context of %d tokens needs a rotation table of more than %d elements: ask for a shorter one", positions, maxRotations)
		return kernels.Rope{}
	}
	frequencies := r.frequencies()
	table := make([]byte, positions*dims*4)
	magnitude := float32(r.magnitude)
	for p := range positions {
		row := table[p*dims*4:]
		for i, f := range frequencies {
			angle := float64(float32(p) * f)
			binary.LittleEndian.PutUint32(row[i*4:], math.Float32bits(float32(math.Cos(angle))*magnitude))
			binary.LittleEndian.PutUint32(row[(half+i)*4:], math.Float32bits(float32(math.Sin(angle))*magnitude))
		}
	}
	t := kernels.Tensor{Name: "rotation table", Shape: []int{positions, dims}, DType: kernels.F32, Data: table}
	return kernels.Rope{Dims: dims, Table: l.load(kernels.Float, t)}
}
