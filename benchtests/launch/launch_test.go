//go:build unix

package launch

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The test binary plays the server and the suite that starts it: role is the
// variable that tells it to.
const role = "LAUNCH_TEST_ROLE"

func TestMain(m *testing.M) {
	Main()
	// Other packages' suites, at the same time on the same daemon, sweep too: what
	// the tests here leave behind for their own sweep is out of those' sight.
	hostID = func() string { return thisHost() + "-launch-tests" }
	switch os.Getenv(role) {
	case "":
		os.Exit(m.Run())
	case "server":
		server()
	case "suite":
		suite()
	case "daemon":
		daemonise()
	}
}

// server listens on the port given as -port, and does what its other flags say.
func server() {
	var port string
	flags := map[string]bool{}
	for i, a := range os.Args[1:] {
		if flags[a] = true; a == "-port" {
			port = os.Args[i+2]
		}
	}
	dir, _ := os.Getwd()
	fmt.Println("loading", port, "in", dir)
	if flags["-die"] {
		for i := range 50 {
			fmt.Println("line", i)
		}
		fmt.Fprintln(os.Stderr, "cannot load the model")
		os.Exit(3)
	}
	if flags["-stubborn"] {
		signal.Ignore(syscall.SIGTERM)
	}
	if flags["-tree"] {
		offspring()
	}
	polls := 0
	http.HandleFunc("/health", func(w http.ResponseWriter, _ *http.Request) {
		if polls++; polls < 3 || flags["-never"] {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	panic(http.ListenAndServe("127.0.0.1:"+port, nil))
}

// offspring starts a process in each way that a server's may get away: in its
// group, in a group of its own, and as a daemon, whose parent has ended and whose
// session is its own.
func offspring() {
	child := exec.Command("sleep", "1000")
	worker := exec.Command("sleep", "1000")
	worker.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	for _, c := range []*exec.Cmd{child, worker} {
		if err := c.Start(); err != nil {
			panic(err)
		}
		fmt.Println("child", c.Process.Pid)
	}
	daemon := exec.Command(os.Args[0])
	daemon.Env = append(os.Environ(), role+"=daemon")
	daemon.Stdout = os.Stdout
	if err := daemon.Run(); err != nil {
		panic(err)
	}
}

// daemonise starts a process and ends.
func daemonise() {
	daemon := exec.Command("sleep", "1000")
	daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := daemon.Start(); err != nil {
		panic(err)
	}
	fmt.Println("child", daemon.Process.Pid)
	syscall.Exit(0)
}

// suite starts a server, prints its process and its reaper's, and waits to be
// killed, or ends otherwise, as its argument says.
func suite() {
	p, err := Start(context.Background(), command(os.Args[2], "-tree"))
	if err != nil {
		panic(err)
	}
	fmt.Println("server", p.PID(), strings.ReplaceAll(p.LogTail(), "\n", " "))
	switch os.Args[1] {
	case "panic":
		go func() { panic("in another goroutine") }()
	case "exit":
		os.Exit(1)
	}
	select {}
}

func command(log string, args ...string) Command {
	port, err := FreePort()
	if err != nil {
		panic(err)
	}
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return Command{
		Path: exe, Args: append(args, "-port", strconv.Itoa(port)), Env: []string{role + "=server"},
		Log: log, URL: fmt.Sprintf("http://127.0.0.1:%d", port), Ready: "/health",
		StartTimeout: time.Minute, StopTimeout: time.Minute,
	}
}

func logFile(t *testing.T) string { return filepath.Join(t.TempDir(), "run", "server.log") }

// gone waits until a process is no more (a zombie that init has not fetched is
// no more); go test's -timeout ends the wait.
func gone(pid int) {
	for alive(pid) {
		time.Sleep(10 * time.Millisecond)
	}
}

func alive(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		_, state, _ := strings.Cut(string(stat), ") ")
		return !strings.HasPrefix(state, "Z")
	}
	return syscall.Kill(pid, 0) == nil
}

var childLine = regexp.MustCompile(`child (\d+)`)

// offspringOf reads the processes that the server said it started.
func offspringOf(t *testing.T, log string) []int {
	t.Helper()
	var pids []int
	for _, m := range childLine.FindAllStringSubmatch(log, -1) {
		pid, err := strconv.Atoi(m[1])
		require.NoError(t, err)
		pids = append(pids, pid)
	}
	require.Len(t, pids, 3, log)
	return pids
}

// allGone waits until none of the processes is there.
func allGone(pids ...int) {
	for _, pid := range pids {
		gone(pid)
	}
}

// TestDir: a server may run in a folder of its own, which need not be there.
func TestDir(t *testing.T) {
	c := command(logFile(t))
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	c.Dir = filepath.Join(root, "run", "servers")
	p, err := Start(t.Context(), c)
	require.NoError(t, err)
	assert.Contains(t, p.LogTail(), " in "+c.Dir)
	require.NoError(t, p.Stop())
}

func TestStartStop(t *testing.T) {
	p, err := Start(t.Context(), command(logFile(t), "-tree"))
	require.NoError(t, err)
	tree := offspringOf(t, p.LogTail())
	for _, pid := range tree {
		require.True(t, alive(pid))
	}
	resp, err := http.Get(p.URL() + "/health")
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	require.NoError(t, p.Err())

	require.NoError(t, p.Stop())
	require.NoError(t, p.Stop(), "again")
	<-p.Exited()
	allGone(append(tree, p.PID())...)
	assert.ErrorIs(t, p.Err(), ErrExited)
}

func TestStopKills(t *testing.T) {
	c := command(logFile(t), "-stubborn", "-tree")
	c.StopTimeout = 50 * time.Millisecond
	p, err := Start(t.Context(), c)
	require.NoError(t, err)
	tree := offspringOf(t, p.LogTail())
	assert.ErrorContains(t, p.Stop(), "was killed")
	allGone(append(tree, p.PID())...)
}

// TestServerKilled kills the leader, which then ends nothing itself.
func TestServerKilled(t *testing.T) {
	p, err := Start(t.Context(), command(logFile(t), "-tree"))
	require.NoError(t, err)
	tree := offspringOf(t, p.LogTail())
	require.NoError(t, syscall.Kill(p.PID(), syscall.SIGKILL))
	<-p.Exited()
	assert.ErrorContains(t, p.Err(), "signal: killed")
	assert.ErrorIs(t, p.Stop(), ErrExited)
	if runtime.GOOS == "linux" {
		for _, pid := range tree {
			assert.False(t, alive(pid), "nothing is left when the server has exited")
		}
	}
}

func TestStartFails(t *testing.T) {
	log := logFile(t)
	_, err := Start(t.Context(), command(log, "-die"))
	require.ErrorIs(t, err, ErrExited)
	assert.ErrorContains(t, err, "exit status 3")
	assert.ErrorContains(t, err, "cannot load the model")
	assert.ErrorContains(t, err, log)
	assert.NotContains(t, err.Error(), "loading", "only the last lines")

	c := command(logFile(t), "-never")
	c.StartTimeout = 300 * time.Millisecond
	_, err = Start(t.Context(), c)
	require.ErrorIs(t, err, ErrNotReady)
	assert.ErrorContains(t, err, "503")

	c = command(logFile(t))
	c.Path = "/nonexistent/serve"
	_, err = Start(t.Context(), c)
	assert.ErrorIs(t, err, os.ErrNotExist)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Start(ctx, command(logFile(t), "-never"))
	assert.ErrorIs(t, err, context.Canceled)
}

// TestSuiteDies kills the process that started a server, in every way that
// gives it no chance to stop the server.
func TestSuiteDies(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux ends a server with its suite")
	}
	for _, how := range []string{"kill", "panic", "exit"} {
		t.Run(how, func(t *testing.T) {
			exe, err := os.Executable()
			require.NoError(t, err)
			cmd := exec.Command(exe, how, logFile(t))
			cmd.Env = append(os.Environ(), role+"=suite")
			out, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			line, err := bufio.NewReader(out).ReadString('\n')
			require.NoError(t, err)
			pid, err := strconv.Atoi(strings.Fields(line)[1])
			require.NoError(t, err)
			tree := offspringOf(t, line)
			if how == "kill" {
				require.True(t, alive(pid))
				cmd.Process.Kill()
			}
			cmd.Wait()
			allGone(append(tree, pid)...)
		})
	}
}

func TestEndpoint(t *testing.T) {
	const key = "a-key-that-nobody-sees"
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/missing":
			http.NotFound(w, r)
		case r.Header.Get("Authorization") != "Bearer "+key:
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	defer srv.Close()
	e, err := NewEndpoint(t.Context(), srv.URL+"/", EndpointOptions{})
	require.NoError(t, err)
	assert.Equal(t, srv.URL, e.URL())
	assert.Zero(t, e.PID())
	assert.NoError(t, e.Stop())
	_, err = NewEndpoint(t.Context(), srv.URL, EndpointOptions{Ready: "/missing", Timeout: 100 * time.Millisecond})
	assert.ErrorContains(t, err, "404")
	_, err = NewEndpoint(t.Context(), "localhost:8000", EndpointOptions{})
	assert.ErrorContains(t, err, "is not a URL")

	_, err = NewEndpoint(t.Context(), srv.URL, EndpointOptions{Ready: "/health", Timeout: time.Hour})
	require.ErrorIs(t, err, ErrNotReady, "it does not wait for what no time changes")
	assert.ErrorContains(t, err, "wants a key")
	_, err = NewEndpoint(t.Context(), srv.URL, EndpointOptions{Ready: "/health", APIKey: "wrong", Timeout: time.Hour})
	require.ErrorIs(t, err, ErrNotReady)
	assert.NotContains(t, err.Error(), "wrong")
	_, err = NewEndpoint(t.Context(), srv.URL, EndpointOptions{Ready: "/health", APIKey: key, Timeout: time.Hour})
	assert.NoError(t, err)
}
