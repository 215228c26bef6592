//go:build unix

package launch

import (
	"os/exec"
	"sync"
	"syscall"
)

// group is a process group. Its number is its leader's, and is another
// process's once the leader is reaped and the group empty: no signal is sent then.
type group struct {
	leader *exec.Cmd
	mu     sync.Mutex
	reaped bool
}

func newGroup(leader *exec.Cmd) *group { return &group{leader: leader} }

// reap waits for the leader to end, kills what is left of its group, and reaps it.
func (g *group) reap() {
	awaitEnd(g.leader)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reaped = true
	syscall.Kill(-g.leader.Process.Pid, syscall.SIGKILL)
	g.leader.Wait() // how it ended is in ProcessState
}

func (g *group) terminate() { g.signal(syscall.SIGTERM) }

func (g *group) kill() { g.signal(syscall.SIGKILL) }

func (g *group) signal(sig syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.reaped {
		syscall.Kill(-g.leader.Process.Pid, sig)
	}
}
