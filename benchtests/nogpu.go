//go:build !gpu

package benchtests

// A program built without -tags gpu measures what a bare machine can do.
const (
	gpuBuild      = false
	defaultDevice = deviceCPU
)
