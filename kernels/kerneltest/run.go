package kerneltest

import (
	"testing"

	"servebench/kernels"
	"servebench/kernels/ref"
)

// Open opens the device under test; it fails or skips the test where it cannot.
type Open func(t *testing.T, dtype kernels.DType) kernels.Device

// Run tests a device against ref in float32 and bfloat16. weights is what a device
// opened as bfloat16 holds Attention's weights in: BF16 where it rounds them, F32
// where it does not.
func Run(t *testing.T, weights kernels.DType, open Open) {
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
		t.Run(dtype.String(), func(t *testing.T) {
			s := &suite{dtype: dtype, rounded: dtype == kernels.BF16 && weights == kernels.BF16, open: open}
			t.Run("Embed", s.embed)
			t.Run("Norm", s.norm)
			t.Run("MatMul", s.matMul)
			t.Run("MatMulLoads", s.matMulLoads)
			t.Run("Rotate", s.rotate)
			t.Run("Attention", s.attention)
			t.Run("AttentionRotated", s.attentionRotated)
			t.Run("AttentionStaleCache", s.attentionStaleCache)
			t.Run("AttentionFreedBlocks", s.attentionFreedBlocks)
			t.Run("AttentionSharedInStep", s.attentionSharedInStep)
			t.Run("Activate", s.activate)
			t.Run("AddGather", s.addGather)
			t.Run("Batches", s.batches)
			t.Run("BadTensors", s.badTensors)
			t.Run("BadSteps", s.badSteps)
			t.Run("BadEntries", s.badEntries)
			t.Run("BadShapes", s.badShapes)
			t.Run("Lifetime", s.lifetime)
		})
	}
}

// suite is the cases for one dtype.
type suite struct {
	dtype   kernels.DType
	rounded bool // Attention's weights are, to bfloat16
	open    Open
}

// pair opens the device under test and the reference; they are closed with the test.
func (s *suite) pair(t *testing.T) (got, want rig) {
	got, want = rig{t, s.open(t, s.dtype)}, rig{t, ref.New(s.dtype)}
	t.Cleanup(func() {
		_ = got.dev.Close()
		_ = want.dev.Close()
	})
	return got, want
}
