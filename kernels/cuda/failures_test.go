package cuda

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/testdata"
)

// Whatever call of the runtime or of cuBLASLt fails, and whatever goes wrong while
// a kernel or a copy runs: the job ends with one of this package's errors, or with
// the tokens that it should have, and leaves nothing behind.
func TestFailures(t *testing.T) {
	s := simulated(t)
	o := s.small(kernels.BF16)
	s.fail("")
	want, err := do(o)
	require.NoError(t, err)
	require.Len(t, want, 11)
	s.clean("the job")
	calls := int(s.call("sim_calls"))
	require.Greater(t, calls, 100, "calls that can fail")
	require.Positive(t, int(s.call("sim_kernels")))

	for _, kind := range []string{"any", "alloc", "launch", "copy", "kernel", "blas", "sticky"} {
		t.Run(kind, func(t *testing.T) {
			failed, ended := 0, 0
			step := 1
			if testdata.Race || testing.Short() { // the calls are the same ones
				step = 7
			}
			for n := 1; n <= calls; n += step {
				s.fail(fmt.Sprintf("%s:%d", kind, n))
				got, err := do(o)
				if s.injected() == 0 { // there are fewer of this kind
					require.NoError(t, err)
					s.fail("")
					break
				}
				failed++
				what := fmt.Sprintf("%s %d of %d: %v", kind, n, calls, err)
				s.fail("")
				s.clean(what)
				if err == nil {
					require.Equal(t, want, got, what)
				} else {
					ended++
					require.NotEmpty(t, sentinelsOf(err), what)
				}
				s.call("sim_reset") // the device works again
			}
			require.Positive(t, failed)
			require.Greater(t, ended, failed/2, "most failures matter")
			t.Logf("%d failures, of which %d ended the job", failed, ended)
		})
	}
	s.call("sim_reset")
	got, err := do(o)
	require.NoError(t, err)
	require.Equal(t, want, got)
	s.clean("after all of that")
}

// A step that failed without breaking the context can be tried again.
func TestTryAgain(t *testing.T) {
	s := simulated(t)
	want, err := do(s.small(kernels.BF16))
	require.NoError(t, err)
	d, err := New(s.small(kernels.BF16))
	require.NoError(t, err)
	j := &job{d: d}
	require.NoError(t, j.load())
	require.NoError(t, j.allocate())
	require.NoError(t, d.Capture(2, func() { j.forward(2, 2) }))
	for n := 1; ; n++ {
		s.fail(fmt.Sprintf("launch:%d", n))
		_, err := j.generate()
		injected := s.injected()
		s.fail("")
		for len(d.queue) > 0 { // what was under way is of no use
			if _, err := d.Drawn(); err != nil {
				break
			}
		}
		if injected == 0 {
			require.NoError(t, err)
			break
		}
		require.ErrorIs(t, err, ErrFailed, "launch %d", n)
		got, err := j.generate()
		require.NoError(t, err, "behind launch %d", n)
		require.Equal(t, want, got, "behind launch %d", n)
	}
	require.NoError(t, d.Close())
	s.clean("closed")
}

// Once the context is lost everything but Close says so.
func TestLost(t *testing.T) {
	s := simulated(t)
	d, err := New(s.small(kernels.F32))
	require.NoError(t, err)
	j := &job{d: d}
	require.NoError(t, j.load())
	require.NoError(t, j.allocate())
	s.fail("kernel:1")
	_, err = j.generate()
	require.ErrorIs(t, err, ErrLost)
	if d.step != nil {
		_ = d.End()
	}
	for name, call := range map[string]func() error{
		"Begin":     func() error { return d.Begin(j.step([]int{0}, []int32{1})) },
		"Read":      func() error { _, err := d.Read(j.x, 1); return err },
		"Drawn":     func() error { _, err := d.Drawn(); return err },
		"Load":      func() error { return j.load() },
		"NewBuffer": func() error { _, err := d.NewBuffer(1, 1); return err },
		"NewKV":     func() error { _, err := d.NewKV(j.cache.Shape()); return err },
		"Capture":   func() error { return d.Capture(1, func() {}) },
		"About":     func() error { _, err := d.About(); return err },
		"Limit":     func() error { _, err := d.Limit(LimitRead); return err },
	} {
		require.ErrorIs(t, call(), ErrLost, name)
	}
	require.NoError(t, d.Close())
	s.fail("")
	s.clean("closed")
}

// What does not fit is an answer, and the device goes on.
func TestOutOfMemory(t *testing.T) {
	s := simulated(t)
	s.set("memory", "128M")
	d, err := New(s.small(kernels.F32))
	require.NoError(t, err)
	about, err := d.About()
	require.NoError(t, err)
	require.Equal(t, int64(128<<20), about.Memory)
	require.Less(t, about.Free, about.Memory)
	_, err = d.NewBuffer(64<<10, 1<<10)
	require.ErrorIs(t, err, ErrMemory)
	for _, says := range []string{"[65536, 1024]", "268435456 bytes", "134217728"} {
		require.ErrorContains(t, err, says)
	}
	_, err = d.NewKV(kernels.KVShape{Layers: 32, Blocks: 1 << 16, BlockSize: 16, KVHeads: 32, HeadDim: 128})
	require.ErrorIs(t, err, ErrMemory)
	big := kernels.Tensor{Name: "giant.weight", Shape: []int{1 << 12, 1 << 12}, DType: kernels.BF16, Data: make([]byte, 2<<24)}
	_, err = d.Load(kernels.Matrix, big)
	require.ErrorIs(t, err, ErrMemory)
	require.ErrorContains(t, err, "giant.weight")
	j := &job{d: d}
	require.NoError(t, j.load())
	require.NoError(t, j.allocate())
	_, err = j.generate()
	require.ErrorContains(t, err, "no step was captured")
	_ = d.End()
	require.NoError(t, d.Close())
	s.clean("closed")
}
