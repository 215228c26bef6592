//go:build unix

package telemetry

import (
	"time"

	"golang.org/x/sys/unix"
)

// ownCPU returns the CPU time of this process, its children's left out; 0
// where the system does not tell.
func ownCPU() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
