package main

import (
	"fmt"
	"time"

	"servebench/kernels"
	"servebench/kernels/cuda"
	"servebench/serving/models"
)

// mostCaptured is how many sequences a decode step that is kept has at most, as by
// default in vLLM (max_cudagraph_capture_size): a larger step is so long that what
// it takes to start its kernels one by one does not show.
const mostCaptured = 512

// capture has a GPU keep the operations of decode steps as CUDA graphs, unless
// --enforce-eager is given, and tells what of its memory they take.
func (o *options) capture(m *models.Model, dev kernels.Device, c *console) error {
	if _, ok := dev.(kernels.Grapher); !ok || o.enforceEager {
		return nil
	}
	start, before := time.Now(), freeOn(dev)
	kept, err := m.Capture(mostCaptured)
	if err != nil {
		return fmt.Errorf("CUDA graphs: %w; a smaller --gpu-memory-utilization (%g) leaves more memory for them, --enforce-eager does without", err, o.gpuUtil)
	}
	c.say("CUDA graphs of decode steps, %d of them, for up to %d sequences: %s of GPU memory, %.1f s", len(kept), kept[len(kept)-1],
		size(max(0, before-freeOn(dev))), time.Since(start).Seconds())
	return nil
}

// freeOn is the memory of a GPU that nobody has; 0 where it cannot be told.
func freeOn(dev kernels.Device) int64 {
	if gpu, ok := dev.(interface{ About() (cuda.About, error) }); ok {
		if a, err := gpu.About(); err == nil {
			return a.Free
		}
	}
	return 0
}
