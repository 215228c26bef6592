package kerneltest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// tolerance allows |got − want| ≤ abs + rel·|want|.
type tolerance struct{ abs, rel float64 }

// The inputs of the cases are uniform in (-1, 1), matrices divided by √K, so
// that results are of the order of 1. float32 rounds to 2⁻²⁴ ≈ 6e-8 of a value.
var (
	// exact: copies, and single additions in the order that ref has.
	exact = tolerance{}
	// A rotation rounds three times at the scale of the larger of two elements.
	rotated = tolerance{abs: 2.5e-7, rel: 1e-7}
	// A norm's moments are sums of up to a thousand terms of one sign, whose
	// error is a few roundings as the terms are spread over lanes; then four
	// more roundings, times mean / deviation (about 3) for what cancels.
	normed = tolerance{abs: 2e-6, rel: 1e-6}
	// A product sums up to 1024 terms of 1/√K in float32, its partial sums stay
	// near 1: √K roundings of 6e-8. Inputs are rounded to 16 bits before both
	// ref and the device see them, so those need no more.
	multiplied = tolerance{abs: 2e-6, rel: 1e-6}
	// A score, of the order of 1, is off by a few roundings, which makes its
	// weight off by as much, relatively; the exponential adds 1.5·2⁻²³. Queries,
	// like the inputs of a product, are rounded to 16 bits in ref too. weighed
	// has what rounding the weights adds.
	attended = tolerance{abs: 1e-6, rel: 1e-6}
	// Scores of the order of 40 are off by 40 times as much.
	attendedPeaked = tolerance{abs: 2e-5, rel: 2e-5}
	// An activation is eight roundings, one exponential (1.5·2⁻²³) and a
	// division. The exponential turns a rounding of its argument u into u
	// roundings of the result: abs is for results this makes small.
	activated = tolerance{abs: 1e-8, rel: 1e-6}
	// A whole small model in float32.
	modelF32 = tolerance{abs: 4e-6, rel: 4e-6}
)

// unit is the distance of two neighbours of a 16-bit dtype, of numbers from 1 to 2,
// and so the most, relatively, that rounding the other way makes of a number.
func (s *suite) unit() float64 {
	if s.dtype == kernels.F16 {
		return 0x1p-10
	}
	return 0x1p-7
}

// attendedRotated is attended behind a rotation, where a key or a query that lies at
// the middle of two 16-bit values may go to the other one: a unit of one element of
// one key, or of one term of each score, which is unit/√E of it. In bfloat16 1e-3.
func attendedRotated(unit float64) tolerance { return tolerance{abs: unit / 8, rel: unit / 8} }

// model is the tolerance of a whole small model. In 16 bits each of the inputs of
// its 9 products may be rounded the other way, and with rounded weights each of
// the 2 layers' attention may be off by what weighed allows at most, on its way to
// logits of the order of 1.
func (s *suite) model() tolerance {
	if s.dtype == kernels.F32 {
		return modelF32
	}
	tol := tolerance{abs: s.unit() / 4, rel: s.unit() / 4}
	if s.rounded {
		tol.abs += 2 * s.unit() / 2
	}
	return tol
}

// weighed is tol and what a device that rounds Attention's weights to 16 bits may
// be off by beside, in a row that sees n positions.
//
// With weights a, Σa = 1, whose relative errors are δ, |δ| ≤ h, half a unit (in
// bfloat16 2⁻⁸), a result o = Σ a·v moves by Σ a·δ·(v − o): it is divided by the sum
// of the rounded weights. Values are in (-1, 1), so that Σ a·|v − o| ≤ 1 and no result
// moves by more than h (and h of that, for what is divided by); one that sees a
// single position does not move.
//
// Mostly it is less. δ has a standard deviation of 0.42·h: uniform within half the
// distance of two neighbours, of numbers spread evenly over the logarithms. v − o has
// √⅓, and Σa² is e^(1/9)/n where scores have the deviation ⅓ that queries and keys
// uniform in (-1, 1) and a scale of 1/√E give them. The sum of n such errors has
// h·0.26/√n; allowed are six of it. float16's weights below 2⁻¹⁴, whose errors are
// 2⁻²⁵ whatever they are, are too few and too small to count.
func weighed(tol tolerance, h float64, n int, usual bool) tolerance {
	switch most := h * (1 + h); {
	case n <= 1:
	case usual:
		tol.abs += min(most, 6*h*0.26/math.Sqrt(float64(n)))
	default:
		tol.abs += most
	}
	return tol
}

// attended is the tolerance of each row of attention whose steps are given, as
// attend returns them: behind each step's rows there are two of canvas' marks.
func (s *suite) attended(tol tolerance, a kernels.Attn, steps ...*kernels.Step) (rows []tolerance) {
	for _, step := range steps {
		for _, p := range step.Positions {
			rows = append(rows, s.attendedAt(tol, a, int(p)))
		}
		rows = append(rows, exact, exact)
	}
	return rows
}

// attendedAt is the tolerance of the row at position p.
func (s *suite) attendedAt(tol tolerance, a kernels.Attn, p int) tolerance {
	if !s.rounded {
		return tol
	}
	n := p + 1
	if a.Window > 0 {
		n = min(n, a.Window)
	}
	return weighed(tol, s.unit()/2, n, a.Scale <= 1)
}

// worst keeps the largest error of a group as a share of what is allowed.
type worst struct {
	share float64
	at    string
}

// compare fails the test where got is further from want than tol allows.
func (w *worst) compare(t *testing.T, what string, got, want []float32, tol tolerance) {
	t.Helper()
	w.compareRows(t, what, got, want, []tolerance{tol})
}

// compareRows is compare with a tolerance for each row.
func (w *worst) compareRows(t *testing.T, what string, got, want []float32, rows []tolerance) {
	t.Helper()
	require.Len(t, got, len(want), what)
	require.Zero(t, len(want)%len(rows), what)
	cols := len(want) / len(rows)
	for i := range want {
		tol := rows[i/cols]
		g, x := float64(got[i]), float64(want[i])
		if got[i] == want[i] || g != g && x != x {
			continue
		}
		diff, allowed := math.Abs(g-x), tol.abs+tol.rel*math.Abs(x)
		if !(diff <= allowed) {
			require.Failf(t, "too far from the reference", "%s: element %d: got %v, want %v (off by %.3g, allowed %.3g)",
				what, i, got[i], want[i], diff, allowed)
		}
		if share := diff / allowed; share > w.share {
			w.share, w.at = share, what
		}
	}
}

func (w *worst) log(t *testing.T) {
	t.Helper()
	t.Logf("largest error: %.0f%% of the allowed one (%s)", 100*w.share, w.at)
}
