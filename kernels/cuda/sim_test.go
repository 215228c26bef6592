package cuda

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/testdata"
)

// sim is the simulated device's hooks (sim/hooks.h).
type sim struct {
	t    testing.TB
	path string
	fn   map[string]uintptr
}

// simulated returns the hooks of the library under test, and takes the settings of
// the environment again when the test is over. On a real GPU's the test is skipped.
func simulated(t testing.TB) *sim {
	t.Helper()
	s := &sim{t: t, path: testdata.CUDA(t), fn: map[string]uintptr{}}
	handle, err := dlopen(s.path)
	require.NoError(t, err)
	if _, err := dlsym(handle, "sim_reset"); err != nil {
		t.Skipf("SKIPPED, not tested here: %s is not of the simulated device, which the test needs", s.path)
	}
	for _, name := range []string{"sim_set", "sim_fail", "sim_calls", "sim_injected", "sim_live_bytes", "sim_live_objects",
		"sim_reports", "sim_last_report", "sim_kernels", "sim_shared", "sim_reset"} {
		s.fn[name], err = dlsym(handle, name)
		require.NoError(t, err, "%s is older than its tests: make cuda-sim", s.path)
	}
	s.call("sim_reset")
	t.Cleanup(func() { s.call("sim_reset") })
	return s
}

func (s *sim) call(name string, args ...uintptr) uintptr { return invoke(s.fn[name], args) }

// cstrings are kept from the collector.
var cstrings [2][]byte

func (s *sim) say(name string, args ...string) {
	s.t.Helper()
	var pointers []uintptr
	for i, a := range args {
		cstrings[i] = append([]byte(a), 0)
		pointers = append(pointers, address(unsafe.SliceData(cstrings[i])))
	}
	require.Zero(s.t, int32(s.call(name, pointers...)), "%s %q", name, args)
}

// set changes a setting, fail plans failures.
func (s *sim) set(name, value string) { s.t.Helper(); s.say("sim_set", name, value) }
func (s *sim) fail(plan string)       { s.t.Helper(); s.say("sim_fail", plan) }

func (s *sim) injected() int { return int(s.call("sim_injected")) }

// clean fails the test where something is still held, or a mistake was reported.
func (s *sim) clean(what string) {
	s.t.Helper()
	require.Zero(s.t, int(s.call("sim_live_bytes")), "%s: bytes that are still held", what)
	require.Zero(s.t, int(s.call("sim_live_objects")), "%s: objects that are still held", what)
	require.Zero(s.t, int(s.call("sim_reports")), "%s: %s", what, goString(s.call("sim_last_report")))
}

// small are options for small steps.
func (s *sim) small(dtype kernels.DType) Options {
	return Options{Library: s.path, DType: dtype, MaxTokens: 24, MaxSeqs: 4, MaxBlocks: 8}
}

// sentinelsOf lists which of this package's errors err is.
func sentinelsOf(err error) (is []error) {
	for _, s := range []error{ErrUnavailable, ErrLibrary, ErrDriver, ErrNoDevice, ErrArchitecture, ErrMemory, ErrFailed, ErrLost} {
		if errors.Is(err, s) {
			is = append(is, s)
		}
	}
	return is
}
