//go:build cgo && linux && amd64

package cpu

import (
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/kerneltest"
)

// The contract, on every instruction set that this CPU has, with threads that
// outnumber the cores and without.
func TestDevice(t *testing.T) {
	if len(ISAs()) == 0 {
		t.Skip("SKIPPED, not tested here: this CPU lacks AVX2, FMA or F16C")
	}
	for i, isa := range ISAs() {
		t.Run(isa, func(t *testing.T) {
			kerneltest.Run(t, kerneltest.Traits{RoundsWeights: isa == "avx512bf16"}, func(t *testing.T, dtype kernels.DType) kernels.Device {
				d, err := New(Options{DType: dtype, ISA: isa, Threads: []int{3, 1, 2}[i%3]})
				require.NoError(t, err)
				return d
			})
		})
	}
}
