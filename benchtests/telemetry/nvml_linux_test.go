//go:build gpu && linux && cgo

package telemetry

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/NVIDIA/go-nvml/pkg/nvml"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

// libraryVariable names the library that TestLibraryChild opens.
const libraryVariable = "TELEMETRY_NVML"

// seenThrough is what a process sees through a library.
type seenThrough struct {
	About results.GPUs
	GPU   *results.GPUUsage
	Notes []string
}

// The real loader on a library that has few functions: a process of its own
// opens it, since what is loaded once stays.
func TestLibrary(t *testing.T) {
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("SKIPPED, not tested here: there is no C compiler (cc)")
	}
	lib := filepath.Join(t.TempDir(), "libnvidia-ml.so.1")
	out, err := exec.Command(cc, "-shared", "-fPIC", "-Wall", "-Werror", "-o", lib, filepath.Join("testdata", "nvml.c")).CombinedOutput()
	require.NoError(t, err, string(out))

	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self, "-test.run=^TestLibraryChild$")
	file := filepath.Join(t.TempDir(), "seen.json")
	cmd.Env = append(os.Environ(), libraryVariable+"="+lib, libraryVariable+"_OUT="+file)
	out, err = cmd.CombinedOutput()
	require.NoError(t, err, "a function that the library lacks may not end the process: %s", out)
	data, err := os.ReadFile(file)
	require.NoError(t, err, string(out))
	var seen seenThrough
	require.NoError(t, json.Unmarshal(data, &seen))

	assert.Equal(t, []results.GPU{{UUID: "GPU-fake", Memory: 16 << 30}}, seen.About.Devices)
	assert.Contains(t, seen.About.Notes, "version of driver: the driver has no nvmlSystemGetDriverVersion")
	g := seen.GPU
	require.NotNil(t, g.DeviceMemory)
	assert.Equal(t, int64(3<<30), *g.DeviceMemory)
	require.NotNil(t, g.ServerMemory)
	assert.Equal(t, int64(2<<30), *g.ServerMemory)
	require.NotNil(t, g.Power)
	assert.InDelta(t, 70, *g.Power, 1e-6)
	assert.True(t, g.Integrated)
	assert.Nil(t, g.Temperature)
	assert.Nil(t, g.Utilization)
	assert.Nil(t, g.Throttle)
	assert.Contains(t, seen.Notes, "temperature of GPU 0: Not Supported")
	assert.Contains(t, fmt.Sprint(seen.Notes), "the driver has no nvmlDeviceGetUtilizationRates")
	assert.Contains(t, fmt.Sprint(seen.Notes), "the driver has no nvmlDeviceGetTotalEnergyConsumption")
}

// TestLibraryChild is what TestLibrary starts.
func TestLibraryChild(t *testing.T) {
	lib := os.Getenv(libraryVariable)
	if lib == "" {
		return // TestLibrary has it do something
	}
	g, err := openNVML(nvml.New(nvml.WithLibraryPath(lib)), AllGPUs)
	require.NoError(t, err)
	w := watchGPUs(g, watchProcesses(os.Getpid(), system{}), nil, true)
	w.look(w.first.Add(period))
	w.stop()
	var u results.Usage
	w.fill(&u)
	seen := seenThrough{*g.About(), u.GPU, u.Notes}
	require.NoError(t, g.Close())
	data, err := json.Marshal(seen)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(os.Getenv(libraryVariable+"_OUT"), data, 0o644))
}
