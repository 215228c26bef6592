package benchtests

import (
	"context"
	"fmt"
	"time"
)

// clock knows how much time go test leaves. go test kills a benchmark a minute
// after its -timeout; within that minute a pass that turned out longer than
// expected is ended in good order.
type clock struct {
	end     time.Time     // go test's -timeout; zero: none
	longest time.Duration // of the passes so far, with what preceded them
}

// overtime is how much of go test's minute a pass may use.
const overtime = 30 * time.Second

func newClock(began time.Time, timeout time.Duration) clock {
	if timeout <= 0 {
		return clock{}
	}
	return clock{end: began.Add(timeout)}
}

// fits returns errNoTime if another pass like the longest so far would not end in time.
func (c *clock) fits() error {
	if c.end.IsZero() {
		return nil
	}
	if left := time.Until(c.end); left <= c.longest {
		return fmt.Errorf("%w: %v are left, and a case has taken %v", errNoTime,
			max(0, left).Round(time.Second), c.longest.Round(time.Second))
	}
	return nil
}

// bound ends the context when go test would soon kill the process.
func (c *clock) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.end.IsZero() {
		return context.WithCancel(ctx)
	}
	return context.WithDeadlineCause(ctx, c.end.Add(overtime), errNoTime)
}

// took notes how long a pass took.
func (c *clock) took(d time.Duration) { c.longest = max(c.longest, d) }
