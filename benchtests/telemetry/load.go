package telemetry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"servebench/results"
)

const (
	// loadTimeout is how long a server may take to tell its load: one that is busy
	// answers late, and is asked no oftener then.
	loadTimeout = 2 * time.Second
	// loadFirst is when it is asked first: a case has all its requests in flight by then.
	loadFirst = 300 * time.Millisecond
)

// Load is what a server tells of itself at a moment. A nil field is not told.
type Load struct {
	Running, Waiting *float64 // requests
	KVCache          *float64 // share in use, 0 to 1
}

// Loader asks a server for its load. errors.ErrUnsupported: it does not tell.
type Loader func(ctx context.Context) (Load, error)

// loadWatch is the source that a server's own gauges are.
type loadWatch struct {
	ask  Loader
	peak Load
	slow slow // a server spends time on the answer
	err  error
}

// String implements source.
func (w *loadWatch) String() string { return "what the server tells of its load" }

// run implements source. What is told behind the case's end is of no use.
func (w *loadWatch) run(ctx context.Context) {
	timer := time.NewTimer(loadFirst)
	defer timer.Stop()
	for w.err == nil {
		select {
		case <-ctx.Done():
			return
		case now := <-timer.C:
			w.err = w.slow.due(now, func() error { return w.look(ctx) })
			timer.Reset(time.Until(w.slow.next))
		}
	}
}

// look asks once. An answer that was not waited for is no failure, and neither is
// a late one: the next may be in time.
func (w *loadWatch) look(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	l, err := w.ask(bounded)
	switch {
	case bounded.Err() != nil:
		return nil
	case err != nil:
		return err
	}
	for _, f := range []struct{ peak, now **float64 }{
		{&w.peak.Running, &l.Running}, {&w.peak.Waiting, &l.Waiting}, {&w.peak.KVCache, &l.KVCache},
	} {
		if *f.now != nil && (*f.peak == nil || **f.now > **f.peak) {
			*f.peak = *f.now
		}
	}
	return nil
}

// fill implements source.
func (w *loadWatch) fill(u *results.Usage) {
	u.RunningPeak, u.WaitingPeak, u.KVCachePeak = w.peak.Running, w.peak.Waiting, w.peak.KVCache
	if w.err != nil && !errors.Is(w.err, errors.ErrUnsupported) {
		u.Notes = append(u.Notes, fmt.Sprintf("the server's load: %v", w.err))
	}
}
