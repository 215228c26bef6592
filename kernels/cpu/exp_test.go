//go:build cgo && linux && amd64

package cpu

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// expError is the bound that vec_exp.h states.
const expError = 1.5 * 0x1p-23

func TestExp(t *testing.T) {
	for _, name := range ISAs() {
		s, err := pick(name)
		require.NoError(t, err)
		var src []float32
		for x := -87.33; x < 88.37; x += 1.0 / 4096 {
			src = append(src, float32(x))
		}
		dst := make([]float32, len(src))
		exp(s, dst, src)
		worst := 0.0
		for i, x := range src {
			want := math.Exp(float64(x))
			if e := math.Abs(float64(dst[i])/want - 1); e > worst {
				worst = e
			}
		}
		t.Logf("%s: largest error: %.0f%% of the allowed one", name, 100*worst/expError)
		assert.LessOrEqual(t, worst, expError, name)

		inf := float32(math.Inf(1))
		for _, c := range [][2]float32{{0, 1}, {-inf, 0}, {-88, 0}, {-1e30, 0}, {inf, inf}, {100, inf}, {1e30, inf}} {
			for n := 1; n < 20; n++ { // tails too
				src := make([]float32, n)
				src[n-1] = c[0]
				dst := make([]float32, n)
				exp(s, dst, src)
				assert.Equal(t, c[1], dst[n-1], "%s: exp(%v)", name, c[0])
			}
		}
		src = []float32{float32(math.NaN())}
		exp(s, src, src)
		assert.True(t, math.IsNaN(float64(src[0])), name)
	}
}
