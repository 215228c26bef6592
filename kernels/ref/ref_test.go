package ref_test

import (
	"testing"

	"servebench/kernels"
	"servebench/kernels/kerneltest"
	"servebench/kernels/ref"
)

// Against itself ref shows that the cases run, that rows do not depend on the
// batch, and that errors are as they should be.
func TestDevice(t *testing.T) {
	traits := kerneltest.Traits{DTypes: []kernels.DType{kernels.F32, kernels.BF16, kernels.F16}}
	kerneltest.Run(t, traits, func(_ *testing.T, dtype kernels.DType) kernels.Device { return ref.New(dtype) })
}
