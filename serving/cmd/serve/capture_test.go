package main

import (
	"bytes"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cuda"
	"servebench/kernels/ref"
	"servebench/serving/models"
	"servebench/serving/models/modeltest"
)

// grapher is a device that keeps steps and has memory for so many.
type grapher struct {
	*modeltest.Queue
	steps int64
}

func (g *grapher) About() (cuda.About, error) { return cuda.About{Free: g.steps << 20}, nil }

func (g *grapher) Capture(rows int, ops func()) error {
	if g.steps--; g.steps < 0 {
		return errors.New("no memory left")
	}
	return g.Queue.Capture(rows, ops)
}

// TestCapture looks at what is kept, what is told of it, and what turns it off.
func TestCapture(t *testing.T) {
	ck, _ := dummy(t, `{"model_type":"gpt2","vocab_size":500,"n_positions":100,"n_embd":8,"n_layer":2,"n_head":2}`)
	limits := models.Limits{MaxTokens: 64, MaxSeqs: 64, Blocks: 28, BlockSize: 16}
	run := func(dev kernels.Device, o options) (string, error) {
		m, err := models.Open(dev, ck, limits)
		require.NoError(t, err)
		var out bytes.Buffer
		err = o.capture(m, dev, &console{w: &out})
		return out.String(), err
	}
	told, err := run(&grapher{modeltest.NewQueue(ref.New(kernels.F32)), 10}, options{})
	require.NoError(t, err)
	require.Contains(t, told, "CUDA graphs of decode steps, 8 of them, for up to 64 sequences: 8.0 MiB of GPU memory")
	told, err = run(&grapher{modeltest.NewQueue(ref.New(kernels.F32)), 10}, options{enforceEager: true})
	require.NoError(t, err)
	require.Empty(t, told)
	told, err = run(ref.New(kernels.F32), options{})
	require.NoError(t, err)
	require.Empty(t, told, "a device that keeps nothing")
	_, err = run(&grapher{modeltest.NewQueue(ref.New(kernels.F32)), 5}, options{gpuUtil: 0.9})
	require.ErrorContains(t, err, "no memory left")
	require.ErrorContains(t, err, "the step of 32 sequences")
	require.ErrorContains(t, err, "--gpu-memory-utilization (0.9)")
	require.ErrorContains(t, err, "--enforce-eager")
}
