package telemetry

import (
	"context"
	"fmt"
	"slices"
	"time"

	"servebench/results"
)

const (
	// period is the time between two samples of memory.
	period = 100 * time.Millisecond
	// slowPeriod is the least time between two looks for new processes, and
	// between two readings of proportional memory.
	slowPeriod = time.Second
	// duty is how many times as long as such a reading took the next one is put off.
	duty = 200
	// patience is how long the last samples may take: far longer than any does,
	// unless a driver or a daemon hangs.
	patience = 15 * time.Second
)

// Server says where what a server takes can be read. A zero field is a source
// that there is not; of a server elsewhere, which has none of them, nothing is told.
type Server struct {
	PID       int       // root of its process tree, where its processes can be seen here
	Container Container // what it runs in
	GPUs      *GPUs     // that it was given
	// GPUMemoryBefore is what was in use on the GPUs before it was started
	// (GPUs.MemoryUsed). It stands in for the server's own memory where the driver's
	// process numbers cannot be set against those seen here.
	GPUMemoryBefore *int64
	Load            Loader // asks the server itself
}

// Container tells what a container takes.
type Container interface {
	// Usage returns the working set of the container's control group in bytes
	// (what is in use, less the file cache that can be dropped), and the CPU time
	// that it has used since it began.
	Usage(ctx context.Context) (memory int64, cpu time.Duration, err error)
}

// source is something that is sampled while a case runs.
type source interface {
	// String names it in notes.
	String() string
	// run samples until ctx ends, and once more then.
	run(ctx context.Context)
	// fill writes what was seen. It is called once run has returned.
	fill(u *results.Usage)
}

// Watcher samples what a server takes until it is stopped.
type Watcher struct {
	cancel context.CancelFunc
	done   chan struct{}
	usage  results.Usage // whole when done is closed
}

// Watch begins to sample the server, and the suite's own CPU time. It never
// fails: what cannot be read is absent from the Usage, with a note. Sampling
// ends with ctx or with Stop.
func Watch(ctx context.Context, s Server) *Watcher { return watch(ctx, s, system{}) }

func watch(ctx context.Context, s Server, r reader) *Watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watcher{cancel: cancel, done: make(chan struct{})}
	var sources []source
	var procs *processes
	if s.PID > 0 {
		procs = watchProcesses(s.PID, r)
		sources = append(sources, procs)
	}
	if s.Container != nil {
		sources = append(sources, watchContainer(ctx, s.Container))
	}
	if s.GPUs != nil {
		sources = append(sources, watchGPUs(s.GPUs, procs, s.GPUMemoryBefore, hostProcessNumbers()))
	}
	if s.Load != nil {
		sources = append(sources, &loadWatch{ask: s.Load})
	}
	before := ownCPU()
	go w.run(ctx, sources, before, patience)
	return w
}

// run lets the sources sample until ctx ends, and gives up those that take
// longer than wait for the last sample.
func (w *Watcher) run(ctx context.Context, sources []source, before, wait time.Duration) {
	defer close(w.done)
	sampling, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	ended := make([]chan struct{}, len(sources))
	for i, s := range sources {
		ended[i] = make(chan struct{})
		go func() {
			defer close(ended[i])
			s.run(sampling)
		}()
	}
	<-ctx.Done()
	w.usage.SuiteCPU = max(0, ownCPU()-before) // ahead of the last samples, which are not the case's doing
	stop()
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), wait) // for all together
	defer cancel()
	for i, s := range sources {
		select {
		case <-ended[i]:
		case <-late.Done():
		}
		select {
		case <-ended[i]:
			s.fill(&w.usage)
		default:
			w.usage.Notes = append(w.usage.Notes, fmt.Sprintf("%s could not be read for %v: nothing is told", s, wait))
		}
	}
	if u := &w.usage; u.PeakRSS == 0 && u.ContainerMemory > 0 {
		u.Notes = append(u.Notes, "host memory and CPU time are those of the server's container, whose processes cannot be seen here")
	}
}

// Stop ends the sampling and returns what was used since Watch. Calling it
// again returns the same.
func (w *Watcher) Stop() results.Usage {
	w.cancel()
	<-w.done
	u := w.usage
	u.Notes = slices.Clone(u.Notes)
	return u
}

// notes are sentences, each once.
type notes []string

func (n *notes) add(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(*n, text) {
		*n = append(*n, text)
	}
}

// slow spaces out a reading that costs much, by what it costs.
type slow struct {
	next time.Time
	off  bool
}

// due runs f if its time has come.
func (s *slow) due(now time.Time, f func() error) error {
	if s.off || now.Before(s.next) {
		return nil
	}
	began := time.Now()
	err := f()
	s.next = now.Add(max(slowPeriod, duty*time.Since(began)))
	return err
}
