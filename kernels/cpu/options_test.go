//go:build cgo && linux && amd64

package cpu

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

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

// workers are the status files of a device's threads, by their number, of all
// devices of the process.
func workers(t *testing.T) map[string][]map[string]string {
	t.Helper()
	found := map[string][]map[string]string{}
	tasks, err := filepath.Glob("/proc/self/task/*/status")
	require.NoError(t, err)
	for _, task := range tasks {
		raw, err := os.ReadFile(task)
		if err != nil {
			continue // it has ended
		}
		status := map[string]string{}
		for line := range strings.Lines(string(raw)) {
			key, value, _ := strings.Cut(line, ":")
			status[key] = strings.TrimSpace(value)
		}
		if strings.HasPrefix(status["Name"], "kernels-") {
			found[status["Name"]] = append(found[status["Name"]], status)
		}
	}
	return found
}

// Threads are bound, each to a core of its own, only where they are to have all
// cores and the system is not to choose.
func TestBinding(t *testing.T) {
	allowed := cores()
	if len(allowed) < 2 {
		t.Skip("SKIPPED, not tested here: the process may run on one core only")
	}
	for _, c := range []struct {
		o     Options
		bound bool
	}{
		{Options{Threads: len(allowed)}, true},
		{Options{Threads: len(allowed), Unbound: true}, false},
		{Options{Threads: len(allowed) + 1}, false},
	} {
		d, err := New(c.o)
		require.NoError(t, err)
		// They have their names and cores before New returns.
		found := workers(t)
		require.Len(t, found, c.o.Threads-1, "%+v", c.o)
		for i, name := range slices.Sorted(maps.Keys(found)) {
			require.Len(t, found[name], 1)
			on := found[name][0]["Cpus_allowed_list"]
			if c.bound && len(allowed) < 10 { // names sort as numbers
				require.Equal(t, fmt.Sprint(allowed[i+1]), on, "%+v: %s", c.o, name)
			} else {
				require.Equal(t, c.bound, !strings.ContainsAny(on, "-,"), "%+v: %s may run on %s", c.o, name, on)
			}
		}
		require.NoError(t, d.Close())
	}
}

// Threads that have nothing to do sleep, whatever they did before.
func TestIdleThreadsSleep(t *testing.T) {
	d := newDevice(t, Options{Threads: 3})
	x, y := newAny(t, d, 64, 1024), newAny(t, d, 64, 1024)
	begin(t, d, 1)
	for range 100 {
		d.Add(x, y, 64)
	}
	require.NoError(t, d.End())
	require.Eventually(t, func() bool {
		for _, same := range workers(t) {
			for _, status := range same {
				if !strings.HasPrefix(status["State"], "S") {
					return false
				}
			}
		}
		return true
	}, time.Minute, time.Millisecond)
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
