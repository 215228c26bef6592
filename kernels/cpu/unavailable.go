//go:build !cgo || !linux || !amd64

package cpu

import (
	"fmt"

	"servebench/kernels"
)

// ISAs lists the instruction sets that this CPU and build can run, best first.
func ISAs() []string { return nil }

// New returns ErrUnavailable.
func New(Options) (kernels.Device, error) {
	return nil, fmt.Errorf("%w: they need cgo, Linux and amd64 at build time", ErrUnavailable)
}
