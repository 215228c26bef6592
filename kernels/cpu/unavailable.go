package cpu

import (
	"fmt"

	"servebench/kernels"
)

// ISAs lists the instruction sets that this CPU and build can run, best first.
func ISAs() []string { return nil }

// New returns ErrUnavailable.
func New(Options) (kernels.Device, error) {
	return nil, fmt.Errorf("%w: built without cgo", ErrUnavailable)
}
