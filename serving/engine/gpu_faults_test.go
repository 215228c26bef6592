//go:build linux && (amd64 || arm64) && !nocuda

package engine_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"testing"

	"github.com/ebitengine/purego"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cuda"
	"servebench/serving/engine"
	"servebench/serving/models"
	"servebench/serving/weights"
	"servebench/testdata"
)

// simulated are hooks of the simulated device (kernels/cuda/sim/hooks.h).
type simulated struct {
	fail     func(plan string) int32
	injected func() uint64
	reset    func()
	bytes    func() uint64
}

// hooks finds them, or skips the test on a real GPU.
func hooks(t *testing.T, library string) (s simulated) {
	t.Helper()
	handle, err := purego.Dlopen(library, purego.RTLD_NOW|purego.RTLD_LOCAL)
	require.NoError(t, err)
	for name, fn := range map[string]any{"sim_fail": &s.fail, "sim_injected": &s.injected, "sim_reset": &s.reset, "sim_live_bytes": &s.bytes} {
		if _, err := purego.Dlsym(handle, name); err != nil {
			t.Skipf("SKIPPED, not tested here: %s is not of the simulated device, whose %s the test needs", library, name)
		}
		purego.RegisterLibFunc(fn, handle, name)
	}
	s.reset()
	t.Cleanup(s.reset)
	return s
}

// TestGPUFaults has calls of the CUDA runtime fail while requests run: each request
// ends with its tokens or with an error, and then the engine either serves the
// next ones right or says that it is dead. Nothing hangs, and the GPU's memory is
// given back.
func TestGPUFaults(t *testing.T) {
	library := testdata.FastCUDA(t)
	sim := hooks(t, library)
	all := beginAlike(4)
	for i := range all {
		all[i].Prompt, all[i].MaxTokens = all[i].Prompt[i:i+7], 5
	}
	g := openGPU(t, library)
	want, failures := g.ask(t, all)
	require.Empty(t, failures)
	deaths, faults := 0, 0
	for _, plan := range []string{
		"launch:3", "launch:40", "cudaGraphLaunch:1", "cudaGraphLaunch:3", "cudaMemcpyAsync:1", "cudaMemcpyAsync:8", // the step is refused
		"cudaEventSynchronize:2", "cudaEventRecord:5", // or what it drew cannot be waited for
		"launch:20+",                       // and whatever is tried then
		"kernel:30", "copy:6", "sticky:50", // the context is broken
	} {
		require.Zero(t, sim.fail(plan), plan)
		got, failures := g.ask(t, all)
		require.Positive(t, sim.injected(), "%s: nothing has failed", plan)
		for i := range all {
			if failures[i] == nil {
				require.Equal(t, want[i], got[i], "%s: request %d", plan, i)
				continue
			}
			faults++
			require.True(t, errors.Is(failures[i], engine.ErrForward) || errors.Is(failures[i], engine.ErrDead), "%s: %v", plan, failures[i])
			require.True(t, slices.Equal(want[i][:len(got[i])], got[i]), "%s: %v before the fault, of %v", plan, got[i], want[i])
		}
		require.Zero(t, sim.fail(""))
		again, failures := g.ask(t, all)
		if g.engine.Healthy() == nil && len(failures) == 0 {
			require.Equal(t, want, again, "after %s", plan)
			continue
		}
		deaths++
		for _, err := range failures {
			require.True(t, errors.Is(err, engine.ErrForward) || errors.Is(err, engine.ErrDead), "after %s: %v", plan, err)
		}
		g.close(t, true)
		sim.reset()
		require.Zero(t, sim.bytes(), "after %s: memory is still held", plan)
		g = openGPU(t, library)
	}
	t.Logf("%d requests failed, %d times the context was lost", faults, deaths)
	require.Positive(t, faults)
	require.Positive(t, deaths)
	g.close(t, false)
	require.Zero(t, sim.bytes())
}

// gpuEngine is a tiny model on the GPU, and an engine for it.
type gpuEngine struct {
	dev    kernels.Device
	engine *engine.Engine
}

func openGPU(t *testing.T, library string) *gpuEngine {
	t.Helper()
	const n, tokens = 4, 24
	dev, err := cuda.New(cuda.Options{Library: library, DType: kernels.F32, MaxTokens: tokens, MaxSeqs: n, MaxBlocks: 8})
	require.NoError(t, err)
	ck, err := weights.Open(t.Context(), testdata.Path("models", "tiny-gpt2"), weights.Options{})
	require.NoError(t, err)
	defer ck.Close()
	m, err := models.Open(dev, ck, models.Limits{MaxTokens: tokens, MaxSeqs: n, Blocks: 24, BlockSize: 4})
	require.NoError(t, err)
	_, err = m.Capture(n)
	require.NoError(t, err)
	e, err := engine.New(m, engine.Config{PrefixCaching: true, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	return &gpuEngine{dev: dev, engine: e}
}

// close ends both; a broken context may say so.
func (g *gpuEngine) close(t *testing.T, broken bool) {
	t.Helper()
	require.NoError(t, g.engine.Close(context.Background()))
	if err := g.dev.Close(); !broken {
		require.NoError(t, err)
	}
}

// ask returns the ids of every request, submitted at once, and the errors of those
// that failed.
func (g *gpuEngine) ask(t *testing.T, all []engine.Request) (out [][]int32, failures map[int]error) {
	t.Helper()
	out, failures = make([][]int32, len(all)), map[int]error{}
	streams := make([]*engine.Stream, len(all))
	for i, r := range all {
		var err error
		if streams[i], err = g.engine.Submit(t.Context(), r); err != nil {
			failures[i] = err
		}
	}
	for i, s := range streams {
		for s != nil {
			tok, err := s.Next(t.Context())
			if err == io.EOF {
				break
			}
			if err != nil {
				failures[i] = err
				break
			}
			out[i] = append(out[i], tok.ID)
		}
	}
	return out, failures
}
