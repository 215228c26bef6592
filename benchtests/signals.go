package benchtests

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// interruption is the cause of a context that a signal ended.
type interruption struct{ syscall.Signal }

func (i interruption) Error() string { return "interrupted: " + i.Signal.String() }

// status is the exit status by which shells know that a signal ended a program.
func (i interruption) status() int { return 128 + int(i.Signal) }

// unwindTime is how long the suite may take to end in good order after a signal.
const unwindTime = 30 * time.Second

// onSignal ends the context when a signal arrives, and exits when that does not
// end the process soon or another one arrives; at once where unwinds says that
// nothing looks at the context. stop ends what must not be left.
func onSignal(parent context.Context, unwinds func() bool, stop func()) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		why := interruption{(<-signals).(syscall.Signal)}
		fmt.Fprintf(os.Stderr, "\n# %v: ending; finished cases are on the disk\n", why)
		cancel(why)
		if unwinds() {
			select {
			case <-signals:
			case <-time.After(unwindTime):
			}
		}
		stop()
		os.Exit(why.status())
	}()
	return ctx
}
