package kerneltest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
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
	// near 1: √K roundings of 6e-8. Inputs are rounded to bfloat16 before both
	// ref and the device see them, so bfloat16 needs no more.
	multiplied = tolerance{abs: 2e-6, rel: 1e-6}
	// A score, of the order of 1, is off by a few roundings, which makes its
	// weight off by as much, relatively; the exponential adds 1.5·2⁻²³.
	attended = tolerance{abs: 1e-6, rel: 1e-6}
	// Scores of the order of 40 are off by 40 times as much.
	attendedPeaked = tolerance{abs: 2e-5, rel: 2e-5}
	// Behind a rotation, a key that lies at the middle of two bfloat16 values
	// may go to the other one: 2⁻⁸ of one element of one key.
	attendedRotated = tolerance{abs: 1e-3, rel: 1e-3}
	// An activation is eight roundings, one exponential (1.5·2⁻²³) and a
	// division. The exponential turns a rounding of its argument u into u
	// roundings of the result: abs is for results this makes small.
	activated = tolerance{abs: 1e-8, rel: 1e-6}
	// A whole small model in float32, and one in bfloat16, where each of the
	// inputs of its 9 products may be rounded the other way (2⁻⁸).
	modelF32  = tolerance{abs: 4e-6, rel: 4e-6}
	modelBF16 = tolerance{abs: 2e-3, rel: 2e-3}
)

// worst keeps the largest error of a group as a share of what is allowed.
type worst struct {
	share float64
	at    string
}

// compare fails the test where got is further from want than tol allows.
func (w *worst) compare(t *testing.T, what string, got, want []float32, tol tolerance) {
	t.Helper()
	require.Len(t, got, len(want), what)
	for i := range want {
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
