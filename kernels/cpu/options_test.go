//go:build cgo && linux && amd64

package cpu

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/ref"
)

func TestOptions(t *testing.T) {
	if len(ISAs()) == 0 {
		_, err := New(Options{})
		require.ErrorIs(t, err, ErrUnavailable)
		t.Skip("SKIPPED, not tested here: this CPU lacks AVX2, FMA or F16C")
	}
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{DType: kernels.F16}, "float16"},
		{Options{ISA: "neon"}, `"neon"`},
		{Options{Threads: -1}, "-1 threads"},
		{Options{Threads: 1 << 30}, "1073741824 threads"},
	} {
		_, err := New(c.o)
		require.ErrorContains(t, err, c.want)
	}
	d, err := New(Options{Threads: 1})
	require.NoError(t, err)
	require.Contains(t, d.Name(), "1 thread)")
	require.NoError(t, d.Close())
}

// What another device made is not memory that C may touch.
func TestForeign(t *testing.T) {
	a, b := newDevice(t, Options{}), newDevice(t, Options{})
	own, err := a.NewBuffer(2, 2)
	require.NoError(t, err)
	for _, other := range []kernels.Device{b, ref.New(kernels.F32)} {
		x, err := other.NewBuffer(2, 2)
		require.NoError(t, err)
		step := &kernels.Step{Tokens: []int32{0}, Positions: []int32{0}, Slots: []int32{0}, Starts: []int32{0, 1}, Lens: []int32{1}}
		require.NoError(t, a.Begin(step))
		require.PanicsWithValue(t, "cpu: Add: a buffer of another device", func() { a.Add(own, x, 2) })
		require.NoError(t, a.End())
	}
}

// Devices come and go while others work, and leave no thread behind.
func TestManyDevices(t *testing.T) {
	keep := newDevice(t, Options{Threads: 3})
	x, y := newAny(t, keep, 64, 1024), newAny(t, keep, 64, 1024)
	for range 50 {
		d := newDevice(t, Options{Threads: 4})
		a, b := newAny(t, d, 64, 1024), newAny(t, d, 64, 1024)
		for _, use := range []struct {
			d    kernels.Device
			x, y kernels.Buffer
		}{{d, a, b}, {keep, x, y}} {
			begin(t, use.d, 1)
			for range 20 {
				use.d.Add(use.x, use.y, 64)
			}
			require.NoError(t, use.d.End())
		}
		require.NoError(t, d.Close())
	}
}

// A step's operations leave nothing for the garbage collector.
func TestNoGarbage(t *testing.T) {
	d := newDevice(t, Options{DType: kernels.BF16})
	w := random(t, d, 64, 48)
	x, out := newAny(t, d, 5, 48), newAny(t, d, 5, 64)
	sum := newAny(t, d, 5, 64)
	begin(t, d, 5)
	garbage := testing.AllocsPerRun(100, func() {
		d.Embed(x, w, nil)
		d.MatMul(out, x, w, nil, 5)
		d.Activate(sum, out, kernels.SiLU, false, 5)
		d.Add(sum, out, 5)
	})
	require.NoError(t, d.End())
	require.Zero(t, garbage)
	runtime.KeepAlive(d)
}

func newDevice(t testing.TB, o Options) kernels.Device {
	t.Helper()
	if len(ISAs()) == 0 {
		t.Skip("SKIPPED, not tested here: this CPU lacks AVX2, FMA or F16C")
	}
	d, err := New(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = d.Close() })
	return d
}

func newAny(t testing.TB, d kernels.Device, rows, cols int) kernels.Buffer {
	t.Helper()
	b, err := d.NewBuffer(rows, cols)
	require.NoError(t, err)
	return b
}
