package benchtests

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"servebench/benchtests/telemetry"
)

const (
	// memoryBound is how long a server that has ended may hold memory of a GPU:
	// the driver takes its contexts down within seconds.
	memoryBound = time.Minute
	// memoryPoll is the time between two looks at it.
	memoryPoll = 100 * time.Millisecond
	// memorySlack is what other programs, such as a desktop, may take in the
	// meantime: no server's weights fit into it.
	memorySlack = 64 << 20
)

// gpuMemory tells what is in use on the GPUs that servers are given.
// *telemetry.GPUs does.
type gpuMemory interface {
	// MemoryUsed returns the bytes in use on all of them together.
	MemoryUsed() (int64, error)
	// Holders returns the processes that hold some of it.
	Holders() ([]telemetry.Holder, error)
}

// takeGPUs makes the GPUs free for a group's server: the servers of all others
// are stopped, and the memory that they held is seen to be back. With
// -shared-gpu, and without GPUs, there is nothing to wait for.
func (s *suite) takeGPUs(ctx context.Context, g *group) error {
	if s.gpus == nil || s.opt.sharedGPU {
		return nil
	}
	s.mu.Lock()
	groups := s.groups
	s.mu.Unlock()
	for _, other := range groups {
		if other != g {
			s.fault(other.stop())
		}
	}
	used, err := s.gpus.MemoryUsed()
	if err != nil {
		return fmt.Errorf("is the GPUs' memory free? %w; -shared-gpu does not ask", err)
	}
	if s.gpuIdle == nil { // nothing of the suite runs yet
		s.gpuIdle = &used
	}
	if used, err = awaitMemory(ctx, s.gpus, *s.gpuIdle, memoryBound, memoryPoll); err == nil {
		g.before = &used
	}
	return err
}

// awaitMemory waits until no more GPU memory is in use than there was while no
// server ran, for at most bound, and returns how much it is. The error names who
// holds it.
func awaitMemory(ctx context.Context, gpus gpuMemory, idle int64, bound, poll time.Duration) (int64, error) {
	late := time.NewTimer(bound)
	defer late.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		used, err := gpus.MemoryUsed()
		if err != nil {
			return 0, fmt.Errorf("is the GPUs' memory free? %w; -shared-gpu does not ask", err)
		}
		if used <= idle+memorySlack {
			return used, nil
		}
		select {
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		case <-late.C:
			return 0, fmt.Errorf("%d MiB of GPU memory are in use %v after the last server ended, %d MiB were before the first one started; held by %s. "+
				"End what holds it, or let it with -shared-gpu", used>>20, bound, idle>>20, holders(gpus))
		case <-tick.C:
		}
	}
}

// holders names the processes that hold GPU memory.
func holders(gpus gpuMemory) string {
	procs, err := gpus.Holders()
	if err != nil {
		return fmt.Sprintf("processes that are not told (%v)", err)
	}
	if len(procs) == 0 {
		return "no process that the driver knows of"
	}
	var names []string
	for _, p := range procs {
		names = append(names, p.String())
	}
	return strings.Join(names, ", ")
}

// visibleGPUs names the GPUs that a server is given as CUDA does; "" leaves it
// all of them. Numbers stand for themselves, in the order of the PCI bus;
// instances of a partitioned GPU have no other name than their UUIDs.
func (s *suite) visibleGPUs() (string, error) {
	if s.gpus == nil || s.opt.gpus == "" || s.opt.gpus == telemetry.AllGPUs {
		return "", nil
	}
	var names []string
	for _, d := range s.gpus.About().Devices {
		switch {
		case d.Instance == nil:
			names = append(names, strconv.Itoa(d.Index))
		case d.UUID != "":
			names = append(names, d.UUID)
		default:
			return "", fmt.Errorf("-gpus %s: the driver does not tell the UUID of instance %d of GPU %d, by which alone a server can be given it", s.opt.gpus, *d.Instance, d.Index)
		}
	}
	return strings.Join(names, ","), nil
}
