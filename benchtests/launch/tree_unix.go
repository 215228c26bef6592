//go:build unix && !linux

package launch

import (
	"errors"
	"os"
	"os/exec"
	"sync"
	"syscall"
)

// Main has to be the first call of main, or of TestMain, in a program that calls
// Start. Only on Linux there is something to do.
func Main() {}

// tree is a process group. Its number is its leader's, and is another
// process's once the leader is reaped and the group empty: no signal is sent then.
type tree struct {
	pid    int
	leader *exec.Cmd
	ended  chan struct{} // closed when the leader is reaped and its group killed
	state  error         // how the leader ended; read it after ended

	mu     sync.Mutex
	reaped bool
}

// startTree starts the command as the leader of a group of its own, out of
// reach of the terminal's Ctrl-C.
func startTree(c Command, env []string, log *os.File) (*tree, error) {
	if len(c.CPUs) > 0 {
		return nil, errNoCPUs
	}
	t := &tree{leader: exec.Command(c.Path, c.Args...), ended: make(chan struct{})}
	t.leader.Dir, t.leader.Env = c.Dir, env
	t.leader.Stdout, t.leader.Stderr = log, log // files: Wait waits for no pipe
	t.leader.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := t.leader.Start(); err != nil {
		return nil, err
	}
	t.pid = t.leader.Process.Pid
	go t.reap()
	return t, nil
}

// reap waits for the leader to end and kills what is left of its group. Nothing
// portable waits without reaping, so the number is free for the moment between;
// systems hand numbers out in turn, not at once again.
func (t *tree) reap() {
	defer close(t.ended)
	t.leader.Wait() // how it ended is in ProcessState
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reaped = true
	syscall.Kill(-t.pid, syscall.SIGKILL)
	t.state = errors.New(t.leader.ProcessState.String())
}

func (t *tree) terminate() { t.signal(syscall.SIGTERM) }

func (t *tree) kill() { t.signal(syscall.SIGKILL) }

func (t *tree) signal(sig syscall.Signal) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.reaped {
		syscall.Kill(-t.pid, sig)
	}
}
