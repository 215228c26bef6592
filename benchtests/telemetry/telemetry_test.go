package telemetry

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

// A test starts this binary again as a server that does what it is told on
// stdin, a command a line, and answers each with a line.
func TestMain(m *testing.M) {
	if os.Getenv("TELEMETRY_SERVER") != "" {
		serve(os.Stdin, os.Stdout)
		return
	}
	os.Exit(m.Run())
}

// serve obeys: "hold N" keeps N MiB, "drop" lets them go, "burn N" uses N ms
// of CPU time, "child" starts a server of its own, which the lines that begin
// with ">" are for, and "end" stops that child and waits for it.
func serve(in io.Reader, out io.Writer) {
	var held []byte
	var child *server
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		command, arg, _ := strings.Cut(lines.Text(), " ")
		n, _ := strconv.Atoi(arg)
		answer := "done"
		var err error
		switch command {
		case "hold":
			held = make([]byte, n<<20)
			for i := 0; i < len(held); i += 4096 {
				held[i] = 1
			}
		case "drop":
			held = nil
		case "burn":
			for began := ownCPU(); ownCPU()-began < time.Duration(n)*time.Millisecond; {
				runtime.Gosched()
			}
		case "child":
			if child, err = startServer(); err == nil {
				answer = strconv.Itoa(child.cmd.Process.Pid)
			}
		case ">":
			answer, err = child.ask(arg)
		case "end":
			err = child.stop()
		default:
			err = fmt.Errorf("what is %q", command)
		}
		if err != nil {
			answer = err.Error()
		}
		fmt.Fprintln(out, answer)
		runtime.KeepAlive(held)
	}
}

type server struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startServer() (*server, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "TELEMETRY_SERVER=1", "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	return &server{cmd, in, bufio.NewReader(out)}, cmd.Start()
}

// ask gives a command and returns the answer.
func (s *server) ask(command string) (string, error) {
	if _, err := fmt.Fprintln(s.in, command); err != nil {
		return "", err
	}
	answer, err := s.out.ReadString('\n')
	return strings.TrimSpace(answer), err
}

// stop closes the server's stdin, which ends it and its child, and waits for it.
func (s *server) stop() error {
	_ = s.in.Close()
	return s.cmd.Wait()
}

func newServer(t *testing.T) (*server, func(command string)) {
	t.Helper()
	s, err := startServer()
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.stop() })
	return s, func(command string) {
		t.Helper()
		answer, err := s.ask(command)
		require.NoError(t, err)
		if command != "child" {
			require.Equal(t, "done", answer)
		}
	}
}

// slack is what a tree's time may be told too low: a process's time is cut
// to hundredths of a second, of itself and of its children.
const slack = 50 * time.Millisecond

func TestWatchMemory(t *testing.T) {
	s, do := newServer(t)
	do("burn 1")
	w := Watch(t.Context(), Server{PID: s.cmd.Process.Pid})
	do("hold 64")
	do("child")
	do("> hold 32")
	u := w.Stop() // the last sample sees both, whatever the ticker did
	t.Logf("%+v", u)
	assert.GreaterOrEqual(t, u.PeakRSS, int64(64<<20))
	assert.Positive(t, u.Samples)
	if runtime.GOOS == "linux" {
		assert.GreaterOrEqual(t, u.PeakPSS, int64(64<<20))
		assert.Less(t, u.PeakPSS, u.PeakRSS, "two processes of one binary share pages")
	}
}

func TestWatchMemoryOfChildren(t *testing.T) {
	s, do := newServer(t)
	do("hold 16")
	do("child")
	do("> hold 48")
	u := Watch(t.Context(), Server{PID: s.cmd.Process.Pid}).Stop()
	assert.GreaterOrEqual(t, u.PeakRSS, int64(64<<20))
}

func TestWatchCPU(t *testing.T) {
	s, do := newServer(t)
	do("child")
	do("> burn 300") // before: not counted
	do("burn 300")
	w := Watch(t.Context(), Server{PID: s.cmd.Process.Pid})
	before := ownCPU()
	do("burn 200")
	do("> burn 200")
	do("end") // the child ends and is waited for
	do("child")
	do("> burn 100")
	do("end") // one that is not there at either end
	for ownCPU()-before < 100*time.Millisecond {
		runtime.Gosched()
	}
	u := w.Stop()
	t.Logf("%+v", u)
	assert.GreaterOrEqual(t, u.ServerCPU, 500*time.Millisecond-slack)
	assert.GreaterOrEqual(t, u.SuiteCPU, 100*time.Millisecond)
	assert.Empty(t, u.Notes)
}

// A server that does nothing while it is watched has not used what it used before.
func TestWatchCPUIdle(t *testing.T) {
	s, do := newServer(t)
	do("burn 500")
	u := Watch(t.Context(), Server{PID: s.cmd.Process.Pid}).Stop()
	assert.Less(t, u.ServerCPU, 400*time.Millisecond)
}

func TestWatchServerDies(t *testing.T) {
	for name, wait := range map[string]bool{"zombie": false, "waited for": true} {
		t.Run(name, func(t *testing.T) {
			s, do := newServer(t)
			do("hold 32")
			w := Watch(t.Context(), Server{PID: s.cmd.Process.Pid})
			do("burn 50")
			require.NoError(t, s.cmd.Process.Kill())
			if wait {
				_ = s.cmd.Wait()
			} else {
				_, err := s.out.ReadString('\n') // its end of the pipe is closed
				require.ErrorIs(t, err, io.EOF)
				for p, err := (system{}).read(s.cmd.Process.Pid); runtime.GOOS == "linux" && err == nil && !p.zombie; {
					p, err = system{}.read(s.cmd.Process.Pid)
				}
			}
			u := w.Stop()
			t.Logf("%+v", u)
			assert.GreaterOrEqual(t, u.PeakRSS, int64(32<<20), "what it had while it lived")
			assert.Zero(t, u.ServerCPU)
			assert.Contains(t, fmt.Sprint(u.Notes), "ended during the case")
		})
	}
}

func TestWatchNobody(t *testing.T) {
	s, _ := newServer(t)
	require.NoError(t, s.stop())
	u := Watch(t.Context(), Server{PID: s.cmd.Process.Pid}).Stop()
	assert.Zero(t, u.PeakRSS)
	assert.Zero(t, u.ServerCPU)
	assert.Contains(t, fmt.Sprint(u.Notes), "cannot be read")

	for _, pid := range []int{0, -1} {
		u = Watch(t.Context(), Server{PID: pid}).Stop()
		assert.Equal(t, results.Usage{SuiteCPU: u.SuiteCPU}, u)
	}
}

// The context ends the sampling; Stop still returns what there was.
func TestWatchContext(t *testing.T) {
	s, do := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	w := Watch(ctx, Server{PID: s.cmd.Process.Pid})
	do("burn 20")
	cancel()
	<-w.done
	do("hold 64")
	u := w.Stop()
	assert.Positive(t, u.PeakRSS)
	assert.Equal(t, u, w.Stop())
}

// Children that come and go at the sampler's pace do no harm.
func TestWatchBusyTree(t *testing.T) {
	s, do := newServer(t)
	w := Watch(t.Context(), Server{PID: s.cmd.Process.Pid})
	for range 15 {
		do("child")
		do("> burn 10")
		do("end")
	}
	u := w.Stop()
	t.Logf("%+v", u)
	assert.GreaterOrEqual(t, u.ServerCPU, 150*time.Millisecond-slack)
	assert.Empty(t, u.Notes)
}
