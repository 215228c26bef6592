package load

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Dispatch is one request handed out.
type Dispatch struct {
	Index     int           // order, from 0
	Scheduled time.Duration // when the model wanted it sent, on the caller's clock
}

// Model is a load model.
type Model interface {
	// Run hands out requests while more returns true and ctx lives, and waits
	// for those handed out. more is called on the caller's goroutine alone, do
	// on others, several at a time. It returns how many were handed out, and
	// the cause of ctx's end if that ended it.
	Run(ctx context.Context, clock func() time.Duration, more func() bool, do func(context.Context, Dispatch)) (int, error)
}

// Closed is the closed loop of Workers requests in flight.
type Closed struct{ Workers int }

// Run implements Model.
func (c Closed) Run(ctx context.Context, clock func() time.Duration, more func() bool, do func(context.Context, Dispatch)) (int, error) {
	if c.Workers < 1 {
		return 0, fmt.Errorf("closed loop with %d workers: at least 1 is needed", c.Workers)
	}
	free := make(chan struct{}) // a worker waits for the next request
	work := make(chan int)      // its index
	over := make(chan struct{}) // there is none
	var wg sync.WaitGroup
	for range c.Workers {
		wg.Go(func() {
			for {
				since := clock()
				select {
				case free <- struct{}{}:
				case <-over:
					return
				}
				index, ok := <-work
				if !ok {
					return
				}
				do(ctx, Dispatch{Index: index, Scheduled: since})
			}
		})
	}
	defer wg.Wait()
	defer close(over)
	defer close(work)
	n := 0
	for {
		// more is asked when somebody is free: a source that ends with time
		// must not promise a request that begins long after it.
		select {
		case <-free:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
		if ctx.Err() != nil || !more() {
			break
		}
		work <- n
		n++
	}
	return n, context.Cause(ctx)
}
