package telemetry

import (
	"context"
	"errors"
	"time"

	"servebench/results"
)

const (
	// containerPeriod is the time between two questions about a container, which
	// its daemon reads several files for.
	containerPeriod = time.Second
	// containerTimeout is how long the first and the last answer may take.
	containerTimeout = 5 * time.Second
)

// container is the source that a server's container is.
type container struct {
	c Container

	memory      int64 // peak
	first, last time.Duration
	counted     bool // first is there
	err         error
	notes       notes
}

// watchContainer asks for the CPU time used so far.
func watchContainer(ctx context.Context, c Container) *container {
	w := &container{c: c}
	ctx, cancel := context.WithTimeout(ctx, containerTimeout)
	defer cancel()
	w.ask(ctx)
	return w
}

// String implements source.
func (w *container) String() string { return "the server's container" }

// run implements source.
func (w *container) run(ctx context.Context) {
	tick := time.NewTicker(containerPeriod)
	defer tick.Stop()
	for w.err == nil {
		select {
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), containerTimeout)
			defer cancel()
			w.ask(last)
			return
		case <-tick.C:
			w.ask(ctx)
		}
	}
}

// ask takes one reading. An answer that was not waited for is no failure.
func (w *container) ask(ctx context.Context) {
	memory, cpu, err := w.c.Usage(ctx)
	switch {
	case err != nil && errors.Is(ctx.Err(), context.Canceled):
		return
	case err != nil:
		w.err = err
		w.notes.add("what the container takes: %v", err)
		return
	}
	if !w.counted {
		w.first, w.counted = cpu, true
	}
	w.memory, w.last = max(w.memory, memory), cpu
}

// fill implements source. CPU time needs the first and the last answer; a peak
// of a part of the case is none.
func (w *container) fill(u *results.Usage) {
	if w.err == nil {
		u.ContainerMemory = w.memory
		u.ContainerCPU = max(0, w.last-w.first)
	}
	u.Notes = append(u.Notes, w.notes...)
}
