package models

import (
	"encoding/json"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// TestRotationsEqualTransformers compares the frequencies of real
// configurations, and of every parameter, with testdata/rope/frequencies.json,
// which testdata/make_rope.py makes. Both compute in float32, in the same order,
// from powers of the base that may differ in their last bit.
func TestRotationsEqualTransformers(t *testing.T) {
	raw, err := os.ReadFile(testdata.Path("rope", "frequencies.json"))
	require.NoError(t, err)
	var cases []struct {
		Name      string
		Fields    ropeConfig
		HeadDim   int `json:"head_dim"`
		Positions int
		Partial   float64
		Inverse   []float64
		Magnitude float64
	}
	require.NoError(t, json.Unmarshal(raw, &cases))
	require.NotEmpty(t, cases)
	const allowed = 4 * 0x1p-24 // two units in the last place
	worst := 0.0
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			r, err := c.Fields.rotation(c.HeadDim, c.Positions, c.Partial)
			require.NoError(t, err)
			require.InEpsilon(t, c.Magnitude, r.magnitude, 1e-12)
			got := r.frequencies()
			require.Len(t, got, len(c.Inverse))
			for i, want := range c.Inverse {
				off := math.Abs(float64(got[i])/want - 1)
				worst = max(worst, off)
				require.True(t, off <= allowed, "pair %d: got %v, want %v", i, got[i], want)
			}
		})
	}
	t.Logf("largest relative error %.1e: %.0f%% of the allowed", worst, 100*worst/allowed)
}
