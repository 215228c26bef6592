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

// Probe measures what the machine does at most; here there is none.
type Probe struct{}

// NewProbe returns ErrUnavailable.
func NewProbe(int, bool) (*Probe, error) {
	_, err := New(Options{})
	return nil, err
}

// Threads, Read, FMA, Dot and Close are never called: there is no Probe.
func (*Probe) Threads() int  { return 0 }
func (*Probe) Read() float64 { return 0 }
func (*Probe) FMA() float64  { return 0 }
func (*Probe) Dot() float64  { return 0 }
func (*Probe) Close() error  { return nil }
