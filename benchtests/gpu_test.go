//go:build gpu && linux && cgo

package benchtests

import (
	"encoding/csv"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

// The whole way on a machine with one GPU, whose driver is a library that
// telemetry's tests have: GPU figures in the line, the table and the
// environment, and absent where that driver does not tell.
func TestWithGPU(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("SKIPPED, not tested here: there is no C compiler (cc)")
	}
	dir := t.TempDir()
	out, err := exec.Command(cc, "-shared", "-fPIC", "-o", filepath.Join(dir, "libnvidia-ml.so.1"), filepath.Join("telemetry", "testdata", "nvml.c")).CombinedOutput()
	require.NoError(t, err, string(out))
	t.Setenv("LD_LIBRARY_PATH", dir)

	s := newBench(t, good)
	args := []string{"-device", "cuda", "-framework", "custom", "-launch", "process", "-task", "qa", "-mode", "stream"}
	require.Zero(t, s.run(args...), s.err.String())
	assert.Regexp(t, `\d+ gpu-device-mem-B`, s.out.String())
	assert.Regexp(t, `[\d.]+ J/tok`, s.out.String())

	run, err := results.Load(filepath.Join(s.results, "latest"))
	require.NoError(t, err)
	env, err := run.Environment()
	require.NoError(t, err)
	require.NotNil(t, env.GPU)
	assert.Equal(t, []results.GPU{{UUID: "GPU-fake", Memory: 16 << 30}}, env.GPU.Devices)

	text := func() string {
		data, err := os.ReadFile(filepath.Join(s.results, "latest", results.FileCSV))
		require.NoError(t, err)
		return string(data)
	}
	rows, err := csv.NewReader(strings.NewReader(text())).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, 2)
	cell := func(column string) string { return rows[1][slices.Index(rows[0], column)] }
	assert.Equal(t, "3221225472", cell("gpu_device_mem_b"))
	assert.Equal(t, "0", cell("gpu_mem_b"), "the server is on no GPU, and that is known")
	assert.Equal(t, "70", cell("gpu_power_w"))
	assert.NotEmpty(t, cell("gpu_energy_j"))
	for _, column := range []string{"gpu_util", "gpu_sm_clock_hz", "gpu_mem_clock_hz", "gpu_temp_c", "gpu_throttle"} {
		assert.Empty(t, cell(column), column)
	}
	assert.Contains(t, cell("notes"), "temperature of GPU 0: Not Supported")

	assert.NotContains(t, cell("notes"), "others may have used the GPUs")

	require.Zero(t, s.run(append(args, "-shared-gpu")...), s.err.String())
	assert.Contains(t, text(), "others may have used the GPUs too")

	assert.NotZero(t, s.run(append(args, "-gpus", "1")...))
	assert.Contains(t, s.err.String(), `-gpus: the list of GPUs "1": there is no "1", there are 0 (GPU-fake)`)
}
