package cuda

import (
	"fmt"
	"math"

	"servebench/kernels"
)

// Options say how New opens a device. The sizes are of the largest step that it
// will be given: memory of that size is set aside for its description.
type Options struct {
	// Library is the path of libservebench_cuda.so; "" looks for it (findLibrary).
	Library string
	// Device is the GPU's number, as the CUDA runtime counts those that it sees.
	Device int
	// DType is what matrices and caches are kept in: F32, BF16 or F16.
	DType     kernels.DType
	MaxTokens int // T
	MaxSeqs   int // S and R; at most MaxTokens
	MaxBlocks int // KV blocks of a sequence
}

// What the library takes at most: nothing that it counts of a step leaves 32 bits.
const (
	mostTokens = 1 << 24
	mostBlocks = 1 << 28 // MaxSeqs·MaxBlocks
)

func (o Options) check() error {
	for _, n := range []struct {
		name         string
		is, low, top int
	}{{"Device", o.Device, 0, math.MaxInt32}, {"MaxTokens", o.MaxTokens, 1, mostTokens}, {"MaxSeqs", o.MaxSeqs, 1, mostTokens},
		{"MaxBlocks", o.MaxBlocks, 1, math.MaxInt32}} {
		if n.is < n.low || n.is > n.top {
			return fmt.Errorf("cuda: %s is %d, must be %d to %d", n.name, n.is, n.low, n.top)
		}
	}
	switch {
	case o.DType > kernels.F16:
		return fmt.Errorf("cuda: a device is float32, bfloat16 or float16, not %v", o.DType)
	case o.MaxSeqs > o.MaxTokens:
		return fmt.Errorf("cuda: MaxSeqs is %d, MaxTokens %d: every sequence of a step has a row", o.MaxSeqs, o.MaxTokens)
	case o.MaxSeqs > mostBlocks/o.MaxBlocks:
		return fmt.Errorf("cuda: MaxSeqs is %d and MaxBlocks %d: a step's list of blocks would have more than %d entries", o.MaxSeqs, o.MaxBlocks, mostBlocks)
	}
	return nil
}
