//go:build !linux

package telemetry

import (
	"errors"
	"io/fs"
	"time"

	"github.com/shirou/gopsutil/v3/process"
)

// system asks gopsutil. CPU time of children that have ended is not to be
// had there: a tree that starts many short processes is told too low.
type system struct{}

func (system) read(pid int) (proc, error) {
	p, err := process.NewProcess(int32(pid))
	if errors.Is(err, process.ErrorProcessNotRunning) {
		return proc{}, fs.ErrNotExist
	}
	if err != nil {
		return proc{}, err
	}
	ppid, err := p.Ppid()
	if err != nil {
		return proc{}, err
	}
	start, err := p.CreateTime()
	if err != nil {
		return proc{}, err
	}
	times, err := p.Times()
	if err != nil {
		return proc{}, err
	}
	mem, err := p.MemoryInfo()
	if err != nil {
		return proc{}, err
	}
	return proc{
		pid:   pid,
		ppid:  int(ppid),
		start: uint64(start),
		own:   time.Duration((times.User + times.System) * float64(time.Second)),
		rss:   int64(mem.RSS),
	}, nil
}

func (s system) all() ([]proc, error) {
	pids, err := process.Pids()
	if err != nil {
		return nil, err
	}
	var procs []proc
	for _, pid := range pids {
		if p, err := s.read(int(pid)); err == nil { // else it has ended since, or is another user's
			procs = append(procs, p)
		}
	}
	return procs, nil
}

func (system) pss(int) (int64, error) { return 0, errors.ErrUnsupported }

// hostProcessNumbers: only Linux has other numbers in containers.
func hostProcessNumbers() bool { return true }

var started = time.Now()

// threadCPU returns the wall clock, which is no less than a thread's CPU time.
func threadCPU() time.Duration { return time.Since(started) }
