package telemetry

import (
	"context"

	"servebench/results"
)

// Watcher samples a process tree until it is stopped.
type Watcher struct{}

// Watch begins to sample the process pid and all its descendants, and the
// suite's own CPU time. pid 0 is "not a local process": only the suite is
// measured. It never fails: what cannot be read is absent from the Usage, with a note.
// Sampling ends with ctx, with Stop, or when the tree is gone.
func Watch(ctx context.Context, pid int) *Watcher { return &Watcher{} }

// Stop ends the sampling and returns what was used since Watch. Calling it
// again returns the same.
func (w *Watcher) Stop() results.Usage { return results.Usage{} }
