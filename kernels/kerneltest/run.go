package kerneltest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/ref"
)

// Open opens the device under test, with room for steps of MaxRows rows, all of
// them of different sequences or wanted, and MaxBlocks blocks a sequence; it fails
// or skips the test where it cannot.
type Open func(t *testing.T, dtype kernels.DType) kernels.Device

// The largest of the steps that Run makes.
const (
	MaxRows   = 640
	MaxBlocks = 640
)

// Traits are what a device does in a way of its own.
type Traits struct {
	// DTypes are what it can be opened as; nil: F32 and BF16.
	DTypes []kernels.DType
	// RoundsWeights is set where a device of a 16-bit dtype holds Attention's weights
	// in it, too.
	RoundsWeights bool
	// SameRows is the largest step in which a row of MatMul has the bits that it has
	// in a step of one row; 0: it has them in every step, and Attention's rows have
	// theirs however a sequence is cut in steps. With a limit neither is demanded
	// beyond: such rows are compared with ref. What depends on how many rows there
	// are must still not depend on what they are.
	SameRows int
	// DrawsAndKeeps is set for a device that is a kernels.Drawer and a
	// kernels.Grapher. Others are neither.
	DrawsAndKeeps bool
}

// Run tests a device against ref in each of its dtypes.
func Run(t *testing.T, traits Traits, open Open) {
	dtypes := traits.DTypes
	if dtypes == nil {
		dtypes = []kernels.DType{kernels.F32, kernels.BF16}
	}
	for _, dtype := range dtypes {
		t.Run(dtype.String(), func(t *testing.T) {
			s := &suite{dtype: dtype, rounded: dtype != kernels.F32 && traits.RoundsWeights, sameRows: traits.SameRows, open: open}
			t.Run("Embed", s.embed)
			t.Run("Norm", s.norm)
			t.Run("MatMul", s.matMul)
			t.Run("MatMulWide", s.matMulWide)
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
			t.Run("Neighbours", s.neighbours)
			t.Run("BadTensors", s.badTensors)
			t.Run("BadSteps", s.badSteps)
			t.Run("BadEntries", s.badEntries)
			t.Run("BadShapes", s.badShapes)
			t.Run("Lifetime", s.lifetime)
			t.Run("Interfaces", func(t *testing.T) { s.interfaces(t, traits.DrawsAndKeeps) })
			if !traits.DrawsAndKeeps {
				return
			}
			t.Run("Draw", s.draw)
			t.Run("DrawInFlight", s.drawInFlight)
			t.Run("DrawMistakes", s.drawMistakes)
			t.Run("Graphs", s.graphs)
			t.Run("GraphsDraw", s.graphsDraw)
			t.Run("GraphMistakes", s.graphMistakes)
		})
	}
}

// interfaces holds the device against its traits, so that no case is left out unseen.
func (s *suite) interfaces(t *testing.T, want bool) {
	r, _ := s.pair(t)
	_, draws := r.dev.(kernels.Drawer)
	_, keeps := r.dev.(kernels.Grapher)
	require.Equal(t, want, draws, "is the device a kernels.Drawer?")
	require.Equal(t, want, keeps, "is the device a kernels.Grapher?")
}

// suite is the cases for one dtype.
type suite struct {
	dtype    kernels.DType
	rounded  bool // Attention's weights are, to dtype
	sameRows int  // Traits.SameRows
	open     Open
}

// varies reports whether a step of so many rows may give a row other bits than a
// step of one.
func (s *suite) varies(rows int) bool { return s.sameRows > 0 && rows > s.sameRows }

// cuts reports whether the bits of a row may depend on the steps that its sequence
// was cut in.
func (s *suite) cuts() bool { return s.sameRows > 0 }

// pair opens the device under test and the reference; they are closed with the test.
func (s *suite) pair(t *testing.T) (got, want rig) {
	got, want = rig{t, s.open(t, s.dtype)}, rig{t, s.reference(t)}
	t.Cleanup(func() { _ = got.dev.Close() })
	return got, want
}

func (s *suite) reference(t *testing.T) kernels.Device {
	d := ref.New(s.dtype)
	t.Cleanup(func() { _ = d.Close() })
	return d
}
