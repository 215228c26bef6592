package benchtests

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/telemetry"
)

func TestDeviceOptions(t *testing.T) {
	names := func(args ...string) (names []string) {
		t.Helper()
		o, err := parse(args...)
		require.NoError(t, err)
		for _, f := range o.frameworks {
			names = append(names, f.Name)
		}
		return names
	}
	assert.Equal(t, []string{"custom"}, names("-device", "cpu"))
	assert.Equal(t, []string{"vllm"}, names("-framework", "vllm"))
	assert.Equal(t, []string{"custom"}, names("-host", "http://127.0.0.1:8000", "-model", "gpt2"))
	if gpuBuild {
		assert.Equal(t, []string{"custom", "vllm", "tgi", "transformers"}, names())
	} else {
		assert.Equal(t, []string{"custom"}, names())
	}

	check := func(want string, args ...string) {
		t.Helper()
		_, err := parse(args...)
		assert.ErrorContains(t, err, want, args)
	}
	check(`-device: unknown value "rocm": choose from cpu, cuda`, "-device", "rocm")
	check("-device: cpu: -gpus names GPUs", "-device", "cpu", "-gpus", "0")
	if !gpuBuild {
		check("-device: cuda: this program was built without GPUs: go test -tags gpu", "-device", "cuda")
	}
}

// Where GPUs are asked for and there are none, nothing is measured, which no
// exit status may hide; what asks for none needs none.
func TestWithoutGPU(t *testing.T) {
	if g, err := telemetry.OpenGPUs(telemetry.AllGPUs); err == nil {
		require.NoError(t, g.Close())
		t.Skip("SKIPPED, not tested here: this machine has a GPU")
	}
	s := newBench(t, good)
	assert.NotZero(t, s.run("-device", "cuda", "-framework", "custom", "-task", "qa", "-mode", "sync"))
	assert.Empty(t, lines(s.out.String()))
	if gpuBuild {
		assert.Contains(t, s.err.String(), "-device cuda: ")
		assert.Contains(t, s.err.String(), "; -device cpu measures on the CPU")
	} else {
		assert.Contains(t, s.err.String(), "go test -tags gpu")
	}
	assert.Nil(t, s.rows(), "no run was begun")

	assert.Zero(t, s.run("-device", "cpu", "-task", "qa", "-mode", "sync"), s.err.String())
	assert.Len(t, lines(s.out.String()), 1)
}

func TestOpenGPUsOptions(t *testing.T) {
	for _, args := range [][]string{
		{"-device", "cpu"},
		{"-host", "http://127.0.0.1:8000", "-model", "gpt2"},
	} {
		o, err := parse(args...)
		require.NoError(t, err)
		g, err := o.openGPUs()
		require.NoError(t, err, args)
		assert.Nil(t, g, args)
	}
}
