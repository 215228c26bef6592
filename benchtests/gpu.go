//go:build gpu

package benchtests

// A program built with -tags gpu measures on GPUs unless it is told otherwise.
const (
	gpuBuild      = true
	defaultDevice = deviceCUDA
)
