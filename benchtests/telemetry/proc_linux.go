package telemetry

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// system reads the files below /proc.
type system struct{}

// tick is the unit of CPU times in /proc, 1/USER_HZ: 100 on every
// architecture that Go has for Linux.
const tick = time.Second / 100

// hostProcessNumbers reports whether this process is outside any container as
// far as process numbers go: in the kernel's first namespace for them, whose
// number is fixed (PROC_PID_INIT_INO in include/linux/proc_ns.h).
func hostProcessNumbers() bool {
	ns, err := os.Readlink("/proc/self/ns/pid")
	return err == nil && ns == "pid:[4026531836]"
}

// threadCPU returns the CPU time of the calling thread; 0 where the system does not tell.
func threadCPU() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		return 0
	}
	return time.Duration(t.Nano())
}

var errStat = errors.New("not the stat file of a process")

func (system) read(pid int) (proc, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return proc{}, err
	}
	return parseStat(data)
}

func (s system) all() ([]proc, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	names, err := d.Readdirnames(-1) // without asking for each file's type
	_ = d.Close()
	if err != nil {
		return nil, err
	}
	var procs []proc
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := s.read(pid); err == nil { // else it has ended since, or is hidden
			procs = append(procs, p)
		}
	}
	return procs, nil
}

// parseStat reads /proc/PID/stat as proc_pid_stat(5) has it: the number, the
// command in parentheses (which may hold spaces and parentheses itself), and
// from the state on fields that spaces separate.
func parseStat(data []byte) (proc, error) {
	open, end := bytes.IndexByte(data, '('), bytes.LastIndexByte(data, ')')
	if open < 0 || end < open {
		return proc{}, errStat
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(data[:open])))
	if err != nil || pid <= 0 {
		return proc{}, errStat
	}
	fields := bytes.Fields(data[end+1:]) // fields[0] is field 3 of the manual
	if len(fields) < 22 {
		return proc{}, errStat
	}
	var bad bool
	number := func(field int) int64 {
		n, err := strconv.ParseInt(string(fields[field-3]), 10, 64)
		bad = bad || err != nil || n < 0
		return n
	}
	ticks := func(field int) time.Duration {
		n := number(field)
		bad = bad || n > int64(1<<62/tick)
		return time.Duration(n) * tick
	}
	p := proc{
		pid:    pid,
		ppid:   int(number(4)),
		own:    ticks(14) + ticks(15),
		waited: ticks(16) + ticks(17),
		start:  uint64(number(22)),
		rss:    number(24) * int64(os.Getpagesize()),
		zombie: fields[0][0] == 'Z' || fields[0][0] == 'X',
	}
	if bad || p.own < 0 || p.waited < 0 || p.rss < 0 {
		return proc{}, errStat
	}
	return p, nil
}

func (system) pss(pid int) (int64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	return parsePSS(data)
}

// parsePSS finds the line "Pss:  301 kB" of smaps_rollup. A process that has
// ended and not been waited for has an empty file.
func parsePSS(data []byte) (int64, error) {
	if len(data) == 0 {
		return 0, os.ErrNotExist
	}
	for line := range bytes.Lines(data) {
		rest, ok := bytes.CutPrefix(line, []byte("Pss:"))
		if !ok {
			continue
		}
		kB, err := strconv.ParseInt(string(bytes.TrimSpace(bytes.TrimSuffix(bytes.TrimSpace(rest), []byte("kB")))), 10, 64)
		if err != nil || kB < 0 || kB > 1<<50 {
			return 0, errors.New("smaps_rollup: Pss is not a size")
		}
		return kB << 10, nil
	}
	return 0, errors.New("smaps_rollup has no Pss")
}
