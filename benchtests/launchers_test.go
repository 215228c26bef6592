//go:build linux

package benchtests

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"servebench/benchtests/launch"
	"servebench/benchtests/target"
	"servebench/testdata"
)

// fakeImage makes an image of the fake server, which is removed with the test.
// binary builds the program.
func fakeImage(t *testing.T, b behaviour, binary func() error, dir string) string {
	t.Helper()
	return buildImage(t, "servebench-fake:"+string(b), binary, dir,
		fmt.Sprintf("FROM scratch\nCOPY serve /serve\nENV %s=%s\nENTRYPOINT [\"/serve\"]\n", fakeServeEnv, b))
}

// buildImage makes an image from what is in dir, where binary puts the program
// `serve`, and removes it with the test.
func buildImage(t *testing.T, image string, binary func() error, dir, dockerfile string) string {
	t.Helper()
	if os.Getenv("TESTCONTAINERS_RYUK_DISABLED") == "" {
		t.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true") // its image would have to be pulled
	}
	if err := launch.DockerAvailable(t.Context()); err != nil {
		t.Skipf("SKIPPED, containers are not tested here: %v", err)
	}
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skipf("SKIPPED, the image %s cannot be made without Docker's program: %v", image, err)
	}
	require.NoError(t, binary())
	build := exec.Command("docker", "build", "-q", "-t", image, "-f", "-", dir)
	build.Stdin = strings.NewReader(dockerfile)
	text, err := build.CombinedOutput()
	require.NoError(t, err, "%s", text)
	t.Cleanup(func() { exec.Command("docker", "image", "rm", "-f", image).Run() })
	return image
}

// ownBinary builds this test program so that it runs in an empty image, once.
func ownBinary(dir string) func() error {
	return sync.OnceValue(func() error {
		build := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, "serve"), ".")
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, text)
		}
		return nil
	})
}

// TestFaults runs the suite on servers that fail in every way, started in every way.
func TestFaults(t *testing.T) {
	faults := []struct {
		how    behaviour
		flags  []string
		status int
		rows   map[string]string // task/mode/repeat: failed/requests
		says   string
	}{
		{good, nil, 0, map[string]string{"chat/sync/0": "0/6", "chat/stream/0": "0/6"}, "PASS"},
		{noStart, nil, 1, nil, "fatal: no weights"},
		{neverReady, []string{"-start-timeout", "2s"}, 1, nil, "503"},
		{dies, []string{"-task", "chat,qa", "-mode", "sync"}, 1, map[string]string{"chat/sync/0": "0/6"}, "the server died"},
		{status500, nil, 1, map[string]string{"chat/sync/0": "6/6", "chat/stream/0": "6/6"}, "status 500: out of memory"},
		{stalls, []string{"-request-timeout", "100ms", "-mode", "stream"}, 1, map[string]string{"chat/stream/0": "6/6"}, "no complete answer in time"},
		{broken, nil, 1, map[string]string{"chat/sync/0": "6/6", "chat/stream/0": "6/6"}, "stream-broken"},
		{garbage, nil, 1, map[string]string{"chat/sync/0": "6/6", "chat/stream/0": "6/6"}, "bad-json"},
	}
	dir := t.TempDir()
	binary := ownBinary(dir)
	for _, by := range []string{launchProcess, launchContainer} {
		for _, f := range faults {
			t.Run(by+"/"+string(f.how), func(t *testing.T) {
				flags := []string{"-launch", by}
				if by == launchContainer {
					flags = append(flags, "-image", fakeImage(t, f.how, binary, dir))
				}
				s := newBench(t, f.how, append([]string{"-task", "chat"}, flags...)...)
				require.Equal(t, f.status, s.run(f.flags...), "%s%s", &s.out, &s.err)
				rows := s.rows()
				for row, want := range f.rows {
					assert.Equal(t, want, rows[row], "%s\n%s", row, &s.out)
				}
				if f.rows == nil {
					assert.Empty(t, rows)
				}
				assert.Contains(t, s.out.String(), f.says)
				assert.Contains(t, s.err.String(), "# custom of gpt2 as "+by+": ")
				if servers := s.environment().Servers; f.rows != nil {
					require.Len(t, servers, 1)
					assert.Equal(t, by, servers[0].Launch)
					assert.Equal(t, by == launchContainer, strings.HasPrefix(servers[0].Digest, "sha256:"))
				}
			})
		}
	}
	if text, err := exec.Command("docker", "ps", "-aq", "--filter", "ancestor=servebench-fake").Output(); err == nil {
		assert.Empty(t, string(text), "no container is left")
	}
}

// TestEndpoint measures a server that runs already and wants a key: what cannot
// be known of it is in no output, and neither is the key.
func TestEndpoint(t *testing.T) {
	const key = "a-key-that-nobody-sees"
	fake := newFake(good)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+key {
			http.Error(w, `{"error":{"message":"Incorrect API key provided: `+r.Header.Get("Authorization")+`"}}`, http.StatusUnauthorized)
			return
		}
		fake.ServeHTTP(w, r)
	}))
	defer srv.Close()
	s := newBench(t, good, "-task", "chat", "-host", srv.URL)
	t.Setenv(defaultKeyEnv, "another-key")
	require.Equal(t, 1, s.run())
	assert.Contains(t, s.out.String(), "it wants a key, or another one")
	t.Setenv(defaultKeyEnv, key)
	require.Zero(t, s.run(), "%s%s", &s.out, &s.err)
	assert.Equal(t, map[string]string{"chat/sync/0": "0/6", "chat/stream/0": "0/6"}, s.rows())

	outputs := s.out.String() + s.err.String()
	files, err := filepath.Glob(filepath.Join(s.results, "[0-9]*", "*.*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(t, err)
		outputs += string(data)
	}
	assert.NotContains(t, outputs, key)
	assert.NotContains(t, outputs, "another-key")
	for _, unit := range []string{"host-mem-B", "host-mem-pss-B", "server-cpu-ns/ktok", "gpu-mem-B"} {
		for line := range strings.Lines(s.out.String() + s.benchTxt()) {
			if strings.HasPrefix(line, "BenchmarkServe/") {
				assert.NotContains(t, line, unit)
			}
		}
	}
	for _, row := range s.records() {
		for _, column := range []string{"host_mem_b", "host_mem_pss_b", "container_mem_b", "server_cpu_s", "server_cpu_s_per_ktok", "gpu_mem_b", "gpu_device_mem_b", "gpu_energy_j"} {
			value, known := row[column]
			require.True(t, known, column)
			assert.Empty(t, value, "%s: what cannot be had is absent, not zero", column)
		}
		assert.Contains(t, row["notes"], "a server that runs elsewhere")
	}
	servers := s.environment().Servers
	require.Len(t, servers, 1)
	assert.Equal(t, launchEndpoint, servers[0].Launch)
}

// TestProcessIsRecorded holds that what a process was given is in the record.
func TestProcessIsRecorded(t *testing.T) {
	venv := pythonWith(t, "vllm")
	var own unix.CPUSet
	require.NoError(t, unix.SchedGetaffinity(0, &own))
	first := 0
	for !own.IsSet(first) {
		first++
	}
	s := newBench(t, good, "-task", "chat", "-mode", "sync", "-cpus", strconv.Itoa(first), "-venv", venv)
	require.Zero(t, s.run(), "%s%s", &s.out, &s.err)
	servers := s.environment().Servers
	require.Len(t, servers, 1)
	got := servers[0]
	assert.Equal(t, launchProcess, got.Launch)
	assert.Equal(t, "as always on cpu unless -launch says otherwise", got.Reason)
	assert.Equal(t, strconv.Itoa(first), got.CPUs)
	assert.Contains(t, got.Env, "VIRTUAL_ENV="+venv)
	assert.Equal(t, s.serve, got.Command[0])
}

// TestReplayedPeers measures each peer in a container that answers as it did: its
// own command line, routes and quirks, over all tasks and modes.
func TestReplayedPeers(t *testing.T) {
	shared := testdata.Shared(t, "peers")
	dir := t.TempDir()
	binary := ownBinary(dir)
	for _, name := range []string{"vllm", "tgi", "transformers", "llamacpp"} {
		t.Run(name, func(t *testing.T) {
			framework, err := target.ByName(name)
			require.NoError(t, err)
			require.NoError(t, os.CopyFS(filepath.Join(dir, name), os.DirFS(filepath.Join(shared, name))))
			program := "/serve"
			if e := framework.Image.Entrypoint; len(e) > 0 {
				program = "/" + filepath.Base(e[0])
			}
			image := buildImage(t, "servebench-replayed:"+name, binary, dir, fmt.Sprintf(
				"FROM scratch\nCOPY serve %s\nCOPY %s /recordings\nENV PATH=/ %s=/recordings\nENTRYPOINT [%q]\n", program, name, replayEnv, program))

			s := newBench(t, good, "-framework", name, "-launch", launchContainer, "-image", image)
			s.as, s.model = "smollm2-135m-instruct", testdata.Path("models", "tiny-llama")
			if !framework.Folders {
				s.model = testdata.Path("gguf", "tiny-llama.gguf")
			}
			require.Zero(t, s.run(), "%s%s", &s.out, &s.err)
			rows := s.rows()
			assert.Len(t, rows, 8, "four tasks in two modes")
			for row, failed := range rows {
				assert.Equal(t, "0/6", failed, row)
			}
			for _, r := range s.records() {
				assert.NotEmpty(t, r["out_tok_per_s"], r["task"])
				assert.Equal(t, r["mode"] == "stream", r["p2ft_p50_s"] != "", r["task"])
				assert.NotEmpty(t, r["contract"], r["task"])
			}
			servers := s.environment().Servers
			require.Len(t, servers, 1)
			assert.Equal(t, launchContainer, servers[0].Launch)
			assert.True(t, strings.HasPrefix(servers[0].Digest, "sha256:"), servers[0].Digest)
		})
	}
}
