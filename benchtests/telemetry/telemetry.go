package telemetry

import (
	"context"
	"fmt"
	"slices"
	"sync"
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
)

// Watcher samples a process tree until it is stopped.
type Watcher struct {
	cancel context.CancelFunc
	done   chan struct{}

	tree     *tree // nil: nothing of the server can be read
	suiteCPU time.Duration
	grow     slow
	pss      slow

	mu    sync.Mutex
	usage results.Usage // guarded by mu
}

// Watch begins to sample the process pid and all its descendants, and the
// suite's own CPU time. pid 0 is "not a local process": only the suite is
// measured. It never fails: what cannot be read is absent from the Usage, with a note.
// Sampling ends with ctx, with Stop, or when the tree is gone.
func Watch(ctx context.Context, pid int) *Watcher { return watch(ctx, pid, system{}) }

func watch(ctx context.Context, pid int, r reader) *Watcher {
	ctx, cancel := context.WithCancel(ctx)
	w := &Watcher{cancel: cancel, done: make(chan struct{})}
	if pid > 0 {
		t, err := newTree(r, pid)
		if err != nil {
			w.note("the server's process %d cannot be read: %v", pid, err)
		} else {
			w.tree = t
			now := time.Now()
			w.grow.next = now.Add(slowPeriod) // newTree has just looked
			w.sample(now)
		}
	}
	w.suiteCPU = ownCPU()
	go w.run(ctx)
	return w
}

// Stop ends the sampling and returns what was used since Watch. Calling it
// again returns the same.
func (w *Watcher) Stop() results.Usage {
	w.cancel()
	<-w.done
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.usage
	u.Notes = slices.Clone(u.Notes)
	return u
}

// run samples until the context ends.
func (w *Watcher) run(ctx context.Context) {
	defer close(w.done)
	w.follow(ctx)
	<-ctx.Done()
	suite := ownCPU() - w.suiteCPU // before the last sample, which is not the case's doing
	if w.tree != nil && w.tree.alive() {
		w.pss.next = time.Time{} // it has everything
		w.sample(time.Now())
	}
	w.finish(suite)
}

// follow samples until the context ends or there is nothing left to sample.
func (w *Watcher) follow(ctx context.Context) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for w.tree != nil && w.tree.alive() {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			w.sample(now)
		}
	}
}

// sample reads memory, and looks for new processes where that is due.
func (w *Watcher) sample(now time.Time) {
	if err := w.grow.due(now, w.tree.grow); err != nil {
		w.note("looking for new processes of the server: %v", err)
	}
	rss, err := w.tree.sample()
	if err != nil {
		w.note("reading the server's processes: %v", err)
	}
	var pss int64
	err = w.pss.due(now, func() (err error) {
		pss, err = w.tree.pss()
		return err
	})
	if err != nil {
		w.note("proportional memory: %v", err)
		w.pss.off = true
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.usage.PeakRSS = max(w.usage.PeakRSS, rss)
	w.usage.PeakPSS = max(w.usage.PeakPSS, pss)
	w.usage.Samples++
	if w.pss.off {
		w.usage.PeakPSS = 0 // a peak of the times when it could be read is none
	}
}

// finish fills in CPU time. That of a server that ended is left out: what it
// used after the last sample is not known.
func (w *Watcher) finish(suite time.Duration) {
	ended := w.tree != nil && w.tree.ended()
	w.mu.Lock()
	w.usage.SuiteCPU = max(0, suite)
	if w.tree != nil && !ended {
		w.usage.ServerCPU = max(0, w.tree.cpu())
	}
	w.mu.Unlock()
	if ended {
		w.note("the server's process ended during the case: memory up to then, no CPU time")
	}
}

// note adds a note once.
func (w *Watcher) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	w.mu.Lock()
	defer w.mu.Unlock()
	if !slices.Contains(w.usage.Notes, text) {
		w.usage.Notes = append(w.usage.Notes, text)
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
