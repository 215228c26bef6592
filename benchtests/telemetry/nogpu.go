//go:build !(gpu && linux && cgo)

package telemetry

// GPUSupport is true in a program that can measure GPUs.
const GPUSupport = false

func openGPUs(string) (*GPUs, error) { return nil, ErrNoGPUSupport }
