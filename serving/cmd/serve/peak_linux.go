package main

import "syscall"

// peakMemory returns the most memory, in bytes, that this process has held at a
// time (peak RSS), 0 where the system does not tell.
func peakMemory() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Maxrss << 10
}
