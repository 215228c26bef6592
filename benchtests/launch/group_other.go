//go:build !unix

package launch

import "os/exec"

// group is the process alone: there are no process groups here.
type group struct{ leader *exec.Cmd }

func newGroup(leader *exec.Cmd) *group { return &group{leader: leader} }

func prepare(*exec.Cmd, bool) {}

func (g *group) reap() { g.leader.Wait() }

func (g *group) terminate() { g.kill() }

func (g *group) kill() { g.leader.Process.Kill() }
