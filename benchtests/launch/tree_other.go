//go:build !unix

package launch

import (
	"errors"
	"os"
	"os/exec"
)

// Main has to be the first call of main, or of TestMain, in a program that calls
// Start. Only on Linux there is something to do.
func Main() {}

// tree is the process alone: there are no process groups here.
type tree struct {
	pid    int
	leader *exec.Cmd
	ended  chan struct{} // closed when the process has ended
	state  error         // how it ended; read it after ended
}

// startTree starts the command.
func startTree(c Command, env []string, log *os.File) (*tree, error) {
	if len(c.CPUs) > 0 {
		return nil, errNoCPUs
	}
	t := &tree{leader: exec.Command(c.Path, c.Args...), ended: make(chan struct{})}
	t.leader.Dir, t.leader.Env = c.Dir, env
	t.leader.Stdout, t.leader.Stderr = log, log
	if err := t.leader.Start(); err != nil {
		return nil, err
	}
	t.pid = t.leader.Process.Pid
	go func() {
		defer close(t.ended)
		t.leader.Wait() // how it ended is in ProcessState
		t.state = errors.New(t.leader.ProcessState.String())
	}()
	return t, nil
}

func (t *tree) terminate() { t.kill() }

func (t *tree) kill() { t.leader.Process.Kill() }
