package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var isMain bool

// Main has to be the first call of main, or of TestMain, in a program that calls
// Start: on Linux the program's own executable, started anew, is the reaper that
// owns a server's processes, and there Main never returns.
func Main() {
	if os.Getenv(reaperEnv) == "" {
		isMain = true
		return
	}
	os.Unsetenv(reaperEnv)
	syscall.Exit(reap()) // not os.Exit: a race detector would sleep first
}

// tree is a server's processes, as its reaper tells of them.
type tree struct {
	pid    int // the leader
	reaper *exec.Cmd
	orders *os.File
	ended  chan struct{} // closed when nothing of the tree is left
	state  error         // how the leader ended; read it after ended
}

// startTree starts a reaper and has it start the command.
func startTree(c Command, env []string, log *os.File) (*tree, error) {
	if !isMain {
		return nil, errors.New("the program does not call launch.Main first in its main, which it has to")
	}
	theirs, orders, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	reports, ours, err := os.Pipe()
	if err != nil {
		theirs.Close()
		orders.Close()
		return nil, err
	}
	t := &tree{orders: orders, ended: make(chan struct{})}
	t.reaper = exec.Command("/proc/self/exe") // it may have been deleted
	t.reaper.Args = []string{"servebench-reaper"}
	t.reaper.Env = append(os.Environ(), reaperEnv+"=1")
	t.reaper.Stdin, t.reaper.Stdout, t.reaper.Stderr = theirs, log, log
	t.reaper.ExtraFiles = []*os.File{ours}
	// A session of its own: no Ctrl-C of a terminal reaches it, and it names
	// those of the server's processes that did not leave it.
	t.reaper.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = t.reaper.Start()
	theirs.Close()
	ours.Close() // or reports would not end with the reaper
	if err != nil {
		orders.Close()
		reports.Close()
		return nil, fmt.Errorf("its reaper: %w", err)
	}
	in := json.NewDecoder(reports)
	var first report
	err = json.NewEncoder(orders).Encode(job{
		Path: c.Path, Args: append([]string{c.Path}, c.Args...), Env: env, Dir: c.Dir, CPUs: c.CPUs,
	})
	if err == nil {
		err = in.Decode(&first)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("its reaper, which ended: %w", err)
	case first.Errno != 0:
		err = fmt.Errorf("%s: %w", first.What, first.Errno)
	case first.What != "":
		err = errors.New(first.What)
	}
	t.pid = first.PID
	go t.follow(in, reports)
	if err != nil {
		orders.Close() // whatever it has started ends with it
		<-t.ended
		return nil, err
	}
	return t, nil
}

// follow waits for the end of the tree and of its reaper.
func (t *tree) follow(in *json.Decoder, reports *os.File) {
	defer close(t.ended)
	defer reports.Close()
	defer t.orders.Close()
	var last report
	err := in.Decode(&last)
	if err == nil && last.Ended {
		t.state = errors.New(describe(syscall.WaitStatus(last.State)))
		t.reaper.Wait()
		return
	}
	// The reaper was killed, and the kernel has killed the leader. The reaper is
	// not waited for yet, so that its number, which is its session's, is its own.
	awaitEnd(t.reaper)
	killSession(t.reaper.Process.Pid)
	t.reaper.Wait()
	t.state = fmt.Errorf("its reaper ended first: %v", t.reaper.ProcessState)
}

// killSession kills what is left of a session, until nothing is.
func killSession(id int) {
	for {
		left := 0
		eachProcess(func(pid int, s stat) {
			if s.session == id && pid != id && s.state != 'Z' {
				left++
				syscall.Kill(pid, syscall.SIGKILL)
			}
		})
		if left == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// awaitEnd returns when a child has ended, and leaves it to be reaped.
func awaitEnd(cmd *exec.Cmd) {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// describe says how a process ended, as os.ProcessState does.
func describe(s syscall.WaitStatus) string {
	switch {
	case s.Exited():
		return fmt.Sprintf("exit status %d", s.ExitStatus())
	case s.CoreDump():
		return fmt.Sprintf("signal: %v (core dumped)", s.Signal())
	default:
		return fmt.Sprintf("signal: %v", s.Signal())
	}
}

func (t *tree) terminate() { t.orders.Write([]byte{orderTerminate}) }

func (t *tree) kill() { t.orders.Write([]byte{orderKill}) }
