//go:build !unix

package telemetry

import (
	"os"
	"time"
)

// ownCPU returns the CPU time of this process; 0 where the system does not tell.
func ownCPU() time.Duration {
	p, err := system{}.read(os.Getpid())
	if err != nil {
		return 0
	}
	return p.own
}
