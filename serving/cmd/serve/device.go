package main

import (
	"errors"
	"fmt"

	"servebench/kernels"
	"servebench/kernels/cpu"
	"servebench/kernels/ref"
)

// openDevice opens the C kernels, or, where they are not available, the plain
// Go ones; why says what is missing then.
func openDevice(o *options) (dev kernels.Device, why error, err error) {
	dev, err = cpu.New(cpu.Options{DType: o.dtype, Threads: o.threads})
	if errors.Is(err, cpu.ErrUnavailable) {
		return ref.New(o.dtype), err, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening the CPU: %w", err)
	}
	return dev, nil, nil
}
