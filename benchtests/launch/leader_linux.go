package launch

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// prepare makes the process the leader of a group of its own, out of reach of
// the terminal's Ctrl-C, that the kernel kills when the thread it is started
// from ends; one with workers is told to end, so that it can end them.
func prepare(cmd *exec.Cmd, workers bool) {
	signal := syscall.SIGKILL
	if workers {
		signal = syscall.SIGTERM
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: signal}
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
