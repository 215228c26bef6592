package launch

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// reaperEnv makes a process a reaper: Main looks for it.
const reaperEnv = "SERVEBENCH_LAUNCH_REAPER"

// The reaper's files besides standard output and error, which are the server's log.
const (
	orderFile  = 0 // it reads its orders from here; the end of the file is the suite's end
	reportFile = 3 // it writes what happened to here
)

// job is the first thing that a reaper reads: a line of JSON.
type job struct {
	Path string   `json:"path"`
	Args []string `json:"args"` // with the program's name
	Env  []string `json:"env"`
	Dir  string   `json:"dir"`
	CPUs []int    `json:"cpus"` // empty: all that the suite has
}

// The orders that follow, a byte each.
const (
	orderTerminate = 't' // SIGTERM to the leader's group
	orderKill      = 'k' // SIGKILL to all
)

// report is a line of JSON that the reaper writes: when the leader runs or could
// not be started, and when nothing of the tree is left.
type report struct {
	PID   int           `json:"pid,omitempty"`   // the leader's
	Errno syscall.Errno `json:"errno,omitempty"` // why it could not be started
	What  string        `json:"what,omitempty"`  // in which step
	Ended bool          `json:"ended,omitempty"`
	State uint32        `json:"state,omitempty"` // the leader's wait status
}

// reaper owns a tree of processes: what its parent leaves behind becomes the
// reaper's child.
type reaper struct {
	out *json.Encoder

	mu     sync.Mutex // guards what follows: a number that was reaped is another process's
	leader int
	reaped bool // the leader
}

// reap is the whole life of a reaper; it returns the exit status.
func reap() int {
	// The leader gets a signal when the thread that started it ends, and the
	// CPUs that this thread has.
	runtime.LockOSThread()
	syscall.CloseOnExec(reportFile)
	r := &reaper{out: json.NewEncoder(os.NewFile(reportFile, "report"))}
	fail := func(what string, err error) int {
		var errno syscall.Errno
		if !errors.As(err, &errno) {
			what = fmt.Sprintf("%s: %v", what, err)
		}
		r.out.Encode(report{Errno: errno, What: what})
		return 1
	}
	orders := bufio.NewReader(os.NewFile(orderFile, "orders"))
	line, err := orders.ReadBytes('\n')
	var j job
	if err == nil {
		err = json.Unmarshal(line, &j)
	}
	if err != nil {
		return fail("read what to start", err)
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fail("become the parent of orphans (PR_SET_CHILD_SUBREAPER)", err)
	}
	if err := setAffinity(j.CPUs); err != nil {
		return fail("use the CPUs that were asked for", err)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT)
	r.leader, err = syscall.ForkExec(j.Path, j.Args, &syscall.ProcAttr{
		Dir: j.Dir, Env: j.Env, Files: []uintptr{null(), 1, 2},
		Sys: &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		return fail("start", err)
	}
	r.out.Encode(report{PID: r.leader})
	go r.obey(orders)
	go func() {
		<-signals
		r.kill()
	}()
	state := r.await()
	r.clear()
	r.out.Encode(report{Ended: true, State: state})
	return 0
}

// null returns a file that nothing can be read from.
func null() uintptr {
	fd, err := syscall.Open(os.DevNull, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return ^uintptr(0) // no file at all
	}
	return uintptr(fd)
}

// setAffinity binds the calling thread, and with it what it starts, to CPUs.
func setAffinity(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	var set unix.CPUSet
	for _, c := range cpus {
		set.Set(c)
	}
	return unix.SchedSetaffinity(0, &set)
}

// ownCPUs returns the CPUs that this process may use.
func ownCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("which CPUs this process may use: %w", err)
	}
	var cpus []int
	for c := range maxCPU + 1 {
		if set.IsSet(c) {
			cpus = append(cpus, c)
		}
	}
	return cpus, nil
}

// obey carries out orders until the suite is gone.
func (r *reaper) obey(orders *bufio.Reader) {
	for {
		order, err := orders.ReadByte()
		switch {
		case err != nil || order == orderKill:
			r.kill()
		case order == orderTerminate:
			r.signal(syscall.SIGTERM)
		}
		if err != nil {
			return
		}
	}
}

// signal sends a signal to the leader's group, unless the leader was reaped.
func (r *reaper) signal(sig syscall.Signal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.reaped {
		syscall.Kill(-r.leader, sig)
	}
}

// kill ends the leader and its group; the leader's end is the end of all.
func (r *reaper) kill() { r.signal(syscall.SIGKILL) }

// await reaps what ends until the leader has, and returns how that ended.
func (r *reaper) await() uint32 {
	for {
		// A look without reaping: while it waits, the leader can be signalled.
		err := unix.Waitid(unix.P_ALL, 0, nil, unix.WEXITED|unix.WNOWAIT|unix.WALL, nil)
		if err != nil {
			continue // EINTR
		}
		r.mu.Lock()
		var state syscall.WaitStatus
		pid, _ := syscall.Wait4(-1, &state, syscall.WNOHANG|syscall.WALL, nil)
		r.reaped = pid == r.leader
		r.mu.Unlock()
		if r.reaped {
			return uint32(state)
		}
	}
}

// clear kills the reaper's children and reaps them, until there is none. Only a
// child is killed, whose number cannot have become another's before it is
// reaped here; the children of one that ends become the reaper's before it can
// be reaped, and their turn comes.
func (r *reaper) clear() {
	for {
		for _, pid := range children() {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		if _, err := syscall.Wait4(-1, nil, syscall.WALL, nil); errors.Is(err, syscall.ECHILD) {
			return
		}
	}
}

// children returns the processes whose parent is this one.
func children() []int {
	var pids []int
	self := os.Getpid()
	eachProcess(func(pid int, s stat) {
		if s.ppid == self {
			pids = append(pids, pid)
		}
	})
	return pids
}

// stat is what is needed of /proc/PID/stat.
type stat struct {
	state         byte
	ppid, session int
}

// eachProcess calls f for every process that can be seen.
func eachProcess(f func(pid int, s stat)) {
	dirs, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, name := range dirs {
		data, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if s, ok := parseStat(string(data)); ok && err == nil {
			f(pid, s)
		}
	}
}

// parseStat reads "PID (NAME) STATE PPID PGRP SESSION …"; the name may hold
// anything (proc_pid_stat(5)).
func parseStat(line string) (s stat, ok bool) {
	i := strings.LastIndexByte(line, ')')
	if i < 0 {
		return s, false
	}
	fields := strings.Fields(line[i+1:])
	if len(fields) < 4 || len(fields[0]) != 1 {
		return s, false
	}
	ppid, err := strconv.Atoi(fields[1])
	session, err2 := strconv.Atoi(fields[3])
	return stat{fields[0][0], ppid, session}, err == nil && err2 == nil
}
