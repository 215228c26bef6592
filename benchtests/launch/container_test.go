//go:build linux

package launch

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const testImage = "servebench-test-server:1"

// needDocker skips the test where no container can be started. The test images
// are made here; Ryuk's would have to be pulled.
func needDocker(t testing.TB) *daemon {
	t.Helper()
	if os.Getenv("TESTCONTAINERS_RYUK_DISABLED") == "" {
		os.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
	}
	d, err := dial(t.Context())
	if err != nil {
		t.Skipf("SKIPPED, containers are not tested here: %v", err)
	}
	return d
}

// serverContext makes the folder that the test server's image is built from, once.
var serverContext = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "servebench-launch")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "build", "-o", filepath.Join(dir, "server"), "./testdata/server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux")
	if output, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, output)
	}
	return dir, os.WriteFile(filepath.Join(dir, "Dockerfile"),
		[]byte("FROM scratch\nCOPY server /server\nENTRYPOINT [\"/server\"]\n"), 0o600)
})

// containerCommand runs the test server with flags.
func containerCommand(t testing.TB, args ...string) ContainerCommand {
	dir, err := serverContext()
	require.NoError(t, err)
	return ContainerCommand{
		Image: testImage, Build: &Build{Context: dir, Dockerfile: "Dockerfile"}, Cmd: args,
		Port: 8000, Ready: "/health", Log: filepath.Join(t.TempDir(), "log"),
		StartTimeout: time.Minute, StopTimeout: 5 * time.Second,
	}
}

// names returns the daemon's containers and networks of this suite.
func (d *daemon) names(t testing.TB) []string {
	t.Helper()
	own := make(client.Filters).Add("label", labelPID+"="+fmt.Sprint(os.Getpid()))
	containers, err := d.api.ContainerList(context.Background(), client.ContainerListOptions{All: true, Filters: own})
	require.NoError(t, err)
	networks, err := d.api.NetworkList(context.Background(), client.NetworkListOptions{Filters: own})
	require.NoError(t, err)
	var names []string
	for _, c := range containers.Items {
		names = append(names, c.Names...)
	}
	for _, n := range networks.Items {
		names = append(names, n.Name)
	}
	return names
}

func TestContainer(t *testing.T) {
	d := needDocker(t)
	cmd := containerCommand(t)
	given := filepath.Join(t.TempDir(), "given")
	require.NoError(t, os.Mkdir(given, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(given, "file"), []byte("words"), 0o644))
	cmd.Env = []string{"COLOUR=a=b"}
	cmd.SecretEnv = map[string]Secret{"TOKEN": "hf_abcdefgh"}
	cmd.Mounts = []Mount{{Host: given, Path: "/given", ReadOnly: true}}
	cmd.User = "1234:1234"
	cmd.ShmSize = 8 << 20
	cmd.Ulimits = []Ulimit{{Name: "nofile", Soft: 1000, Hard: 1001}}
	var progress strings.Builder
	cmd.Progress = &progress

	c, err := StartContainer(t.Context(), cmd)
	require.NoError(t, err)
	t.Cleanup(func() { c.Stop() })
	assert.NoError(t, c.Err())
	assert.Len(t, d.names(t), 2, "the container and its network")
	assert.Regexp(t, `^sha256:[0-9a-f]{64}$`, c.Digest())
	assert.Contains(t, progress.String(), "building "+testImage)

	limits := get(t, c.URL()+"/limits")
	assert.Equal(t, "1000 8388608", limits, "open files, which Go raises to one below the hard limit, and /dev/shm")
	if pid := c.PID(); pid != 0 {
		exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err == nil {
			assert.Equal(t, "/server", exe)
		}
	}
	told, err := c.daemonUsage(t.Context())
	require.NoError(t, err)
	usage, err := c.Usage(t.Context())
	require.NoError(t, err)
	for _, u := range []ContainerUsage{told, usage} {
		assert.Greater(t, u.MemoryWorkingSet, int64(100<<10))
		assert.Less(t, u.MemoryWorkingSet, int64(1<<30))
		assert.Positive(t, u.CPU)
	}
	assert.GreaterOrEqual(t, usage.CPU, told.CPU, "the later one")
	assert.Equal(t, c.PID() != 0, c.cgroup != nil)

	require.NoError(t, c.Stop())
	require.NoError(t, c.Stop(), "again")
	assert.Empty(t, d.names(t), "all is removed")
	select {
	case <-c.Exited():
	default:
		t.Error("Exited is not closed after Stop")
	}
	log, err := os.ReadFile(cmd.Log)
	require.NoError(t, err)
	assert.Contains(t, string(log), "loading as 1234, token (secret), colour a=b")
	assert.Contains(t, string(log), "given: words; writing there: open /given/file: ")
	assert.Contains(t, string(log), "told to end", "the log is complete")
	_, err = c.Usage(t.Context())
	assert.Error(t, err, "it is gone")
}

func get(t testing.TB, url string) string {
	t.Helper()
	resp, err := http.Get(url)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body)
}

func TestContainerHostNetwork(t *testing.T) {
	d := needDocker(t)
	if port, err := http.Get("http://127.0.0.1:8000/"); err == nil {
		port.Body.Close()
		t.Skip("SKIPPED: another server has port 8000")
	}
	cmd := containerCommand(t)
	cmd.NetworkMode = HostNetwork
	c, err := StartContainer(t.Context(), cmd)
	require.NoError(t, err)
	t.Cleanup(func() { c.Stop() })
	assert.Equal(t, "http://"+d.host+":8000", c.URL())
	assert.Len(t, d.names(t), 1, "no network is made")
	require.NoError(t, c.Stop())
	assert.Empty(t, d.names(t))
}

func TestContainerFails(t *testing.T) {
	d := needDocker(t)
	check := func(name string, want error, words []string, change func(*ContainerCommand)) {
		t.Run(name, func(t *testing.T) {
			cmd := containerCommand(t)
			cmd.SecretEnv = map[string]Secret{"TOKEN": "hf_abcdefgh"}
			change(&cmd)
			_, err := StartContainer(t.Context(), cmd)
			require.Error(t, err)
			if want != nil {
				assert.ErrorIs(t, err, want)
			}
			for _, w := range words {
				assert.ErrorContains(t, err, w)
			}
			assert.NotContains(t, err.Error(), "hf_abcdefgh")
			assert.Empty(t, d.names(t), "nothing is left")
		})
	}
	check("dies at start", ErrExited, []string{"exit status 3", "cannot load the model", "token (secret)"},
		func(c *ContainerCommand) { c.Cmd = []string{"-die"} })
	check("never ready", ErrNotReady, []string{"503", "loading as 0"}, func(c *ContainerCommand) {
		c.Cmd = []string{"-never"}
		c.StartTimeout = time.Second
	})
	check("no such program", nil, []string{"/nowhere"}, func(c *ContainerCommand) { c.Entrypoint = []string{"/nowhere", "hf_abcdefgh"} })
	check("no such folder", nil, []string{"/no/such/folder"}, func(c *ContainerCommand) {
		c.Mounts = []Mount{{Host: "/no/such/folder", Path: "/m"}}
	})
	check("no such network", nil, []string{"no-such-network"}, func(c *ContainerCommand) { c.NetworkMode = "no-such-network" })
	check("missing image", ErrPull, []string{"127.0.0.1:1/none:1", "-launch process", "docker load"}, func(c *ContainerCommand) {
		c.Image, c.Build = "127.0.0.1:1/none:1", nil
	})
	check("build fails", ErrBuild, []string{"nothing.here"}, func(c *ContainerCommand) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte("FROM scratch\nCOPY nothing.here /\n"), 0o600))
		c.Image, c.Build = "servebench-test-broken:1", &Build{Context: dir, Dockerfile: "Dockerfile"}
	})
	info, err := d.api.Info(t.Context(), client.InfoOptions{})
	require.NoError(t, err)
	if _, has := info.Info.Runtimes["nvidia"]; has {
		t.Log("NOT TESTED: GPUs without their runtime, which this machine has")
		return
	}
	check("no GPU runtime", ErrNoGPURuntime, []string{"NVIDIA Container Toolkit", "-launch process"}, func(c *ContainerCommand) { c.GPUs = "all" })
	check("no GPU runtime, list", ErrNoGPURuntime, []string{"(GPUs 0,2)"}, func(c *ContainerCommand) { c.GPUs = "0,2" })
}

func TestContainerDiesLater(t *testing.T) {
	d := needDocker(t)
	c, err := StartContainer(t.Context(), containerCommand(t))
	require.NoError(t, err)
	t.Cleanup(func() { c.Stop() })
	if resp, err := http.Get(c.URL() + "/crash"); err == nil {
		resp.Body.Close()
	}
	<-c.Exited()
	assert.ErrorIs(t, c.Err(), ErrExited)
	assert.ErrorContains(t, c.Err(), "exit status 7")
	assert.Contains(t, c.LogTail(), "crashing")
	assert.ErrorIs(t, c.Stop(), ErrExited)
	assert.Empty(t, d.names(t))
}

func TestContainerKilled(t *testing.T) {
	d := needDocker(t)
	cmd := containerCommand(t, "-stubborn")
	cmd.StopTimeout = time.Second
	c, err := StartContainer(t.Context(), cmd)
	require.NoError(t, err)
	assert.ErrorContains(t, c.Stop(), "did not end within 1s of SIGTERM")
	assert.Empty(t, d.names(t))
}

func TestContainerCancelled(t *testing.T) {
	d := needDocker(t)
	cmd := containerCommand(t, "-never")
	ctx, cancel := context.WithCancel(t.Context())
	go func() { // once the server runs, while it is waited for
		for ctx.Err() == nil {
			if strings.Contains(logTail(cmd.Log), "loading") {
				cancel()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	_, err := StartContainer(ctx, cmd)
	assert.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, d.names(t))

	_, err = StartContainer(ctx, cmd) // before anything is made
	assert.ErrorIs(t, err, context.Canceled)
	assert.Empty(t, d.names(t))
}

// childRole tells TestContainerChild what to do.
const childRole = "LAUNCH_TEST_CONTAINER"

// answer is what the child prints, as a line of JSON.
type answer struct {
	URL, Digest, Error, Progress, Log string
	NoDocker, Pull, GPU               bool
}

// TestContainerChild is a suite of its own that other tests run, since the
// daemon is found once a process: it starts a container, tells how that went,
// and stops it, or waits to be killed.
func TestContainerChild(t *testing.T) {
	image := os.Getenv(childRole)
	if image == "" {
		t.Skip("run by other tests")
	}
	var progress strings.Builder
	c, err := StartContainer(t.Context(), ContainerCommand{Image: image, Port: 8000, Ready: "/health", GPUs: os.Getenv(childRole + "_GPUS"),
		Log: filepath.Join(t.TempDir(), "log"), SecretEnv: map[string]Secret{"TOKEN": "hf_abcdefgh"}, Progress: &progress})
	a := answer{Progress: progress.String()}
	a.NoDocker, a.Pull, a.GPU = errors.Is(err, ErrNoDocker), errors.Is(err, ErrPull), errors.Is(err, ErrNoGPURuntime)
	if err != nil {
		a.Error = err.Error()
	} else {
		a.URL, a.Digest = c.URL(), c.Digest()
	}
	if c != nil && os.Getenv(childRole+"_WAIT") == "" {
		if err := c.Stop(); err != nil {
			a.Error = err.Error()
		}
		a.Log = c.LogTail()
	}
	line, err := json.Marshal(a)
	require.NoError(t, err)
	fmt.Printf("\nANSWER %s\n", line)
	if os.Getenv(childRole+"_WAIT") != "" {
		select {}
	}
}

// child starts such a suite. Wait for it, or kill it.
func child(t testing.TB, image string, env ...string) (answer, *exec.Cmd) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestContainerChild$")
	cmd.Env = append(append(os.Environ(), childRole+"="+image, "TESTCONTAINERS_RYUK_DISABLED=true", "HOME="+t.TempDir()), env...)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	cmd.Stderr = os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	scanner := bufio.NewScanner(stdout)
	for scanner.Scan() {
		if line, found := strings.CutPrefix(scanner.Text(), "ANSWER "); found {
			assert.NotContains(t, line, "hf_abcdefgh")
			var a answer
			require.NoError(t, json.Unmarshal([]byte(line), &a))
			return a, cmd
		}
	}
	t.Fatal("the child said nothing")
	return answer{}, nil
}

func TestNoDaemon(t *testing.T) {
	a, _ := child(t, testImage, "DOCKER_HOST=tcp://127.0.0.1:1")
	assert.True(t, a.NoDocker, a.Error)
	assert.Contains(t, a.Error, "DOCKER_HOST=tcp://127.0.0.1:1")
	assert.Contains(t, a.Error, "-launch process")
	assert.Contains(t, a.Error, "-host URL")
}

func TestSweep(t *testing.T) {
	d := needDocker(t)
	c, err := StartContainer(t.Context(), containerCommand(t)) // makes the image
	require.NoError(t, err)
	t.Cleanup(func() { c.Stop() })
	left, suite := child(t, testImage, childRole+"_WAIT=1")
	require.Empty(t, left.Error)
	var progress strings.Builder
	d.sweep(t.Context(), &progress)
	assert.Empty(t, progress.String(), "both suites live")
	get(t, left.URL+"/health")

	require.NoError(t, suite.Process.Kill())
	suite.Wait()
	d.sweep(t.Context(), &progress)
	assert.Regexp(t, `^removed a container .*\nremoved a network .*\n$`, progress.String())
	_, err = http.Get(left.URL + "/health")
	assert.Error(t, err)
	get(t, c.URL()+"/health") // this suite's own is left alone
}
