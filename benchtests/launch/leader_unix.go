//go:build unix && !linux

package launch

import (
	"os/exec"
	"syscall"
)

// prepare makes the process the leader of a group of its own, out of reach of
// the terminal's Ctrl-C.
func prepare(cmd *exec.Cmd, _ bool) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// awaitEnd returns when a child has ended. Nothing portable waits for that
// without reaping it, so its number is free for the moment until its group is
// killed; systems hand numbers out in turn, not at once again.
func awaitEnd(cmd *exec.Cmd) { cmd.Wait() }
