package resources

import (
	"fmt"
	"regexp"
	"strconv"
)

// dynamicKernel is a kernel with dynamic shared memory: its size is known where it
// is launched, and not to ptxas.
type dynamicKernel struct {
	name  *regexp.Regexp
	bytes func(args []int) int // of a block, given the numbers that name matches
}

// llamaHead is the elements of a head of Llama-2-7B, and of Mistral-7B.
const llamaHead = 128

// dynamicKernels has what their launchers in attention_*.cu ask for, with Llama-2-7B's
// shapes. TestSharedMemory of kernels/cuda holds the table against the launches.
var dynamicKernels = []dynamicKernel{
	// For each of four warps two stages of 16 keys and 16 values of width elements and 8
	// more, and 16 queries; with 16 sequences, a count for each and one more.
	{regexp.MustCompile(`^attention_decode_kernel<\w+, (\d+)>$`), func(w []int) int { return (4*2*2+1)*16*(w[0]+8)*2 + 4*(16+1) }},
	// Two stages of 64 keys and 64 values of width elements and 8 more.
	{regexp.MustCompile(`^attention_prefill_kernel<\w+, (\d+)>$`), func(w []int) int { return 2 * 2 * 64 * (w[0] + 8) * 2 }},
	// A query and a sum of each element, in float32.
	{regexp.MustCompile(`^attention_simple_kernel<\w+>$`), func([]int) int { return 2 * 4 * llamaHead }},
}

// dynamicOf is the dynamic shared memory of a block of a kernel, in bytes, with
// Llama-2-7B's shapes; 0 where it has none.
func dynamicOf(kernel string) (int, error) {
	for _, d := range dynamicKernels {
		m := d.name.FindStringSubmatch(kernel)
		if m == nil {
			continue
		}
		args := make([]int, len(m)-1)
		for i := range args {
			n, err := strconv.Atoi(m[i+1])
			if err != nil {
				return 0, fmt.Errorf("%s: %w", kernel, err)
			}
			args[i] = n
		}
		return d.bytes(args), nil
	}
	return 0, nil
}
