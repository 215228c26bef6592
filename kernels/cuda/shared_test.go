package cuda

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cuda/resources"
)

// What resources.csv says of dynamic shared memory is what the kernels are launched
// with: with as many sequences as its formulas have, and for each width of heads
// that a kernel is compiled for.
func TestSharedMemory(t *testing.T) {
	s := simulated(t)
	f, err := os.Open("resources.csv")
	require.NoError(t, err)
	defer f.Close()
	table, err := resources.ReadTable(f)
	require.NoError(t, err)
	left := map[string]int{} // kernels with dynamic shared memory, and its bytes
	for _, r := range table.Rows {
		if r.Dynamic > 0 {
			left[r.Kernel] = r.Dynamic
		}
	}
	require.NotEmpty(t, left)

	// matches compares a kernel's largest launch, of heads that are times as wide as the table's.
	matches := func(kernel string, times int) {
		t.Helper()
		name, _, _ := strings.Cut(kernel, "<")
		require.Contains(t, left, kernel, "resources.csv has no such kernel with dynamic shared memory")
		require.Equal(t, times*left[kernel], s.shared(name), "%s", kernel)
		delete(left, kernel)
	}
	for dtype, name := range map[kernels.DType]string{kernels.F32: "float", kernels.BF16: "bf16", kernels.F16: "f16"} {
		for _, width := range []int{64, 80, 96, 128, 256} {
			s.call("sim_reset")
			d, err := New(Options{Library: s.path, DType: dtype, MaxTokens: recallTokens, MaxSeqs: 16, MaxBlocks: recallBlocks})
			require.NoError(t, err)
			r := newRecall(t, d, kernels.Attn{Heads: 1, KVHeads: 1, HeadDim: width, Scale: 0.1})
			r.attend(last(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16)...)
			r.attend(part{0, 20})
			switch {
			case width == 256:
				matches(fmt.Sprintf("attention_simple_kernel<%s>", name), 2)
			case dtype == kernels.F32:
				require.Equal(t, 2*4*width, s.shared("attention_simple_kernel"))
			default:
				matches(fmt.Sprintf("attention_decode_kernel<%s, %d>", name, width), 1)
				matches(fmt.Sprintf("attention_prefill_kernel<%s, %d>", name, width), 1)
			}
			require.NoError(t, d.Close())
		}
	}
	require.Empty(t, left, "kernels that were not launched")
}

// shared is the most dynamic shared memory that kernels with that in their name were
// launched with since sim_reset, in bytes; -1 where there was none.
func (s *sim) shared(name string) int {
	cstrings[0] = append([]byte(name), 0)
	return int(int64(s.call("sim_shared", address(unsafe.SliceData(cstrings[0])))))
}
