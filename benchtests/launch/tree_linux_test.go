package launch

import (
	"os"
	"slices"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestReaperKilled takes the reaper away: what did not leave its session ends
// with it.
func TestReaperKilled(t *testing.T) {
	p, err := Start(t.Context(), command(logFile(t), "-tree"))
	require.NoError(t, err)
	tree := offspringOf(t, p.LogTail())
	require.NoError(t, p.tree.reaper.Process.Kill())
	<-p.Exited()
	assert.ErrorContains(t, p.Err(), "reaper ended first: signal: killed")
	allGone(p.PID(), tree[0], tree[1])
	require.NoError(t, syscall.Kill(tree[2], syscall.SIGKILL), "of a session of its own: out of reach")
}

// TestReaperTerminated: who ends the reaper means the server.
func TestReaperTerminated(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP} {
		p, err := Start(t.Context(), command(logFile(t), "-tree"))
		require.NoError(t, err)
		tree := offspringOf(t, p.LogTail())
		require.NoError(t, p.tree.reaper.Process.Signal(sig))
		<-p.Exited()
		allGone(append(tree, p.PID())...)
		assert.ErrorIs(t, p.Stop(), ErrExited)
	}
}

// TestCPUs binds a server, and all that it starts, to one processor.
func TestCPUs(t *testing.T) {
	var own unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &own))
	last := 0
	for cpu := range own.Count() * 64 {
		if own.IsSet(cpu) {
			last = cpu
		}
	}
	c := command(logFile(t), "-tree")
	c.CPUs = []int{last}
	p, err := Start(t.Context(), c)
	require.NoError(t, err)
	defer p.Stop()
	for _, pid := range append(offspringOf(t, p.LogTail()), p.PID()) {
		var set unix.CPUSet
		require.NoError(t, unix.SchedGetaffinity(pid, &set))
		assert.Equal(t, 1, set.Count())
		assert.True(t, set.IsSet(last), "process %d", pid)
	}

	c.Log, c.CPUs = logFile(t), []int{1023}
	_, err = Start(t.Context(), c)
	assert.ErrorIs(t, err, syscall.EINVAL)
	assert.ErrorContains(t, err, "CPUs")
}

func TestParseStat(t *testing.T) {
	check := func(line string, want stat, ok bool) {
		t.Helper()
		got, is := parseStat(line)
		require.Equal(t, ok, is, line)
		if ok {
			assert.Equal(t, want, got, line)
		}
	}
	check("12 (sleep) S 7 12 5 0 -1 4194304", stat{'S', 7, 5}, true)
	check("12 (a (b) R 1 2 3) Z 7 12 5 0", stat{'Z', 7, 5}, true)
	check("", stat{}, false)
	check("12 (sleep", stat{}, false)
	check("12 (sleep) S 7", stat{}, false)
	check("12 (sleep) S x 12 5", stat{}, false)
	assert.False(t, slices.Contains(children(), os.Getpid()))
}

func FuzzParseStat(f *testing.F) {
	f.Add("12 (sleep) S 7 12 5 0 -1 4194304")
	f.Add("12 ()) S 7 12 5")
	f.Fuzz(func(t *testing.T, line string) { parseStat(line) })
}

// TestMainNotCalled: a program that would not become a reaper starts nothing.
func TestMainNotCalled(t *testing.T) {
	isMain = false
	defer func() { isMain = true }()
	_, err := Start(t.Context(), command(logFile(t)))
	assert.ErrorContains(t, err, "launch.Main")
}
