package main

import (
	"errors"
	"fmt"
	"strings"

	"servebench/kernels"
	"servebench/kernels/cpu"
	"servebench/kernels/cuda"
	"servebench/kernels/ref"
	"servebench/serving/models"
)

// place is where a model goes: a device, and the memory that it may take there.
type place struct {
	layout layout
	dev    kernels.Device // an open GPU; nil: the CPU, which openCPU opens
	memory string         // what it is called

	free  int64 // bytes that weights, activations and KV cache may take together
	most  int64 // the same where --kv-cache-memory-bytes asks for a cache
	share int64 // the cache takes 1/share of what the others leave of free at most
	fill  bool  // and all of that, even where --max-num-seqs full contexts take less
}

// host is the CPU with so many free bytes.
func host(free int64) *place {
	return &place{layout: hostLayout{}, memory: "memory", free: free, most: free, share: kvShare}
}

// gpu reports whether the model goes to a GPU.
func (p *place) gpu() bool { return p.dev != nil }

// close gives back a device that was opened in vain.
func (p *place) close() error {
	if p == nil || p.dev == nil {
		return nil
	}
	return p.dev.Close()
}

// place finds where the model of a checkpoint goes: what --device says, or for
// auto the GPU where there is one, else the CPU; c is told which, and why. stored
// is what most of the checkpoint's matrices come in. It settles o.dtype.
func (o *options) place(spec models.Spec, stored kernels.DType, c *console) (*place, models.Limits, error) {
	if o.device != "cpu" {
		p, l, err := o.openGPU(spec, stored)
		switch {
		case err == nil && o.device == "auto":
			c.say("--device auto takes the GPU")
			return p, l, nil
		case err == nil || o.device == "cuda" || !absent(err):
			return p, l, err
		}
		c.say("--device auto takes the CPU: %v", err)
	}
	l, err := o.sizes(spec, false)
	if err != nil {
		return nil, l, err
	}
	if err := o.settle(stored, false); err != nil {
		return nil, l, err
	}
	free, err := freeMemory()
	if err != nil {
		return nil, l, fmt.Errorf("finding how much memory is free: %w", err)
	}
	return host(free), l, nil
}

// errSimulated is why auto leaves the simulated device alone.
var errSimulated = errors.New("the library of CUDA kernels is the simulated device's")

// absent reports whether an error means that there is no GPU to be had, so that
// auto goes on with the CPU.
func absent(err error) bool {
	for _, why := range []error{cuda.ErrUnavailable, cuda.ErrLibrary, cuda.ErrDriver, cuda.ErrNoDevice, cuda.ErrArchitecture, errSimulated} {
		if errors.Is(err, why) {
			return true
		}
	}
	return false
}

// openGPU opens the first GPU that the driver shows, with room for the steps of
// the model.
func (o *options) openGPU(spec models.Spec, stored kernels.DType) (*place, models.Limits, error) {
	all, err := cuda.Devices(o.cudaLibrary)
	switch {
	case err != nil:
		return nil, models.Limits{}, err
	case len(all) == 0:
		return nil, models.Limits{}, cuda.ErrNoDevice
	case all[0].Simulated && o.device == "auto":
		return nil, models.Limits{}, errSimulated
	}
	l, err := o.sizes(spec, true)
	if err != nil {
		return nil, l, err
	}
	if err := o.settle(stored, true); err != nil {
		return nil, l, err
	}
	dev, err := cuda.New(cuda.Options{Library: o.cudaLibrary, DType: o.dtype, MaxTokens: l.MaxTokens, MaxSeqs: l.MaxSeqs,
		MaxBlocks: (l.MaxModelLen + l.BlockSize - 1) / l.BlockSize})
	if err != nil {
		return nil, l, err
	}
	a, err := dev.About()
	if err != nil {
		return nil, l, errors.Join(err, dev.Close())
	}
	return onGPU(dev, a.Memory, a.Free, o.gpuUtil), l, nil
}

// onGPU is a GPU of which a share may be used. What others hold of it, and what its
// context takes, is free no more and counts as used.
func onGPU(dev kernels.Device, memory, free int64, share float64) *place {
	used := memory - free
	return &place{layout: gpuLayout{}, dev: dev, memory: "GPU memory", free: int64(float64(memory)*share) - used, most: free, share: 1, fill: true}
}

// settle says what --dtype auto is, and what the device cannot be.
func (o *options) settle(stored kernels.DType, gpu bool) error {
	switch {
	case o.dtypeAuto && gpu && stored == kernels.F16:
		o.dtype = kernels.F16 // exactly what the checkpoint has
	case o.dtypeAuto:
		o.dtype = kernels.BF16
	case o.dtype == kernels.F16 && !gpu:
		return usage("--dtype float16 takes a GPU (--device cuda): the CPU multiplies in bfloat16 or float32")
	}
	return nil
}

// openCPU opens the C kernels, or, where they are not available, the plain
// Go ones; why says what is missing then.
func openCPU(o *options) (dev kernels.Device, why error, err error) {
	dev, err = cpu.New(cpu.Options{DType: o.dtype, Threads: o.threads})
	if errors.Is(err, cpu.ErrUnavailable) {
		return ref.New(o.dtype), err, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("opening the CPU: %w", err)
	}
	return dev, nil, nil
}

// devices tells what there is to compute on, a line each.
func (o *options) devices() (lines []string) {
	if isas := cpu.ISAs(); len(isas) > 0 {
		lines = append(lines, "cpu: "+isas[0])
	} else {
		lines = append(lines, "cpu: plain Go, many times slower than C: the C kernels are not in this build, or not for this CPU")
	}
	all, err := cuda.Devices(o.cudaLibrary)
	switch {
	case err != nil:
		return append(lines, "cuda: "+strings.TrimPrefix(err.Error(), "cuda: "))
	case len(all) == 0:
		return append(lines, "cuda: "+cuda.ErrNoDevice.Error())
	}
	for i, a := range all {
		lines = append(lines, fmt.Sprintf("cuda:%d: %v, %s, CUDA %d.%d (driver: %d.%d)", i, a, size(a.Memory),
			a.Runtime/1000, a.Runtime%1000/10, a.Driver/1000, a.Driver%1000/10))
	}
	return lines
}
