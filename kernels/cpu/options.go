package cpu

import (
	"errors"

	"servebench/kernels"
)

// ErrUnavailable is returned by New, wrapped with the reason, when the package
// was built without cgo or not for amd64, or when the CPU lacks AVX2 and FMA.
// kernels/ref then does the work.
var ErrUnavailable = errors.New("the C kernels are unavailable")

// Options say how New opens a device.
type Options struct {
	// DType is what matrices and caches are kept in: kernels.F32 or kernels.BF16.
	DType kernels.DType
	// Threads is how many cores work, the calling one included. 0 takes all
	// cores that the process may run on.
	Threads int
	// Unbound leaves the choice of cores to the system. Otherwise, where there is a
	// thread for every core that the process may run on, each but the calling one
	// is bound to a core of its own.
	Unbound bool
	// ISA names an instruction set out of ISAs; "" takes the best one.
	ISA string
}
