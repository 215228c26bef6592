package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReference(t *testing.T) {
	sum := "sha256:" + strings.Repeat("ab", 32)
	check := func(want, prefix string, c ContainerCommand) {
		t.Helper()
		ref, err := c.reference(prefix)
		if want == "" {
			assert.Error(t, err, "%+v", c)
			return
		}
		if assert.NoError(t, err) {
			assert.Equal(t, want, ref.String())
		}
	}
	check("docker.io/vllm/vllm-openai:v1", "", ContainerCommand{Image: "vllm/vllm-openai:v1"})
	check("docker.io/vllm/vllm-openai:v2", "", ContainerCommand{Image: "vllm/vllm-openai:v1", Tag: "v2"})
	check("docker.io/library/ollama:latest", "", ContainerCommand{Image: "ollama"})
	check("ghcr.io/x/y:v1@"+sum, "", ContainerCommand{Image: "ghcr.io/x/y:v1", Digest: sum})
	check("ghcr.io/x/y@"+sum, "", ContainerCommand{Image: "ghcr.io/x/y@" + sum})
	check("mirror.example/hub/x/y:v1", "mirror.example/hub/", ContainerCommand{Image: "x/y:v1"})
	check("ghcr.io/x/y:v1", "mirror.example/hub", ContainerCommand{Image: "ghcr.io/x/y:v1"})
	check("docker.io/x/y:v1", "mirror.example/hub", ContainerCommand{Image: "docker.io/x/y:v1"})
	check("", "", ContainerCommand{Image: ""})
	check("", "", ContainerCommand{Image: "No Such"})
	check("", "", ContainerCommand{Image: "x", Tag: "a b"})
	check("", "", ContainerCommand{Image: "x", Digest: "sha256:12"})
}

func TestCheckCommand(t *testing.T) {
	good := ContainerCommand{Image: "x", Port: 8000, Log: "log"}
	require.NoError(t, good.check())
	assert.Equal(t, DefaultStartTimeout, good.StartTimeout)
	for name, change := range map[string]func(*ContainerCommand){
		"no port":          func(c *ContainerCommand) { c.Port = 0 },
		"port too large":   func(c *ContainerCommand) { c.Port = 65536 },
		"no log":           func(c *ContainerCommand) { c.Log = "" },
		"GPUs":             func(c *ContainerCommand) { c.GPUs = "0, 2" },
		"CPUs":             func(c *ContainerCommand) { c.CPUs = "all" },
		"shared memory":    func(c *ContainerCommand) { c.ShmSize = -1 },
		"variable":         func(c *ContainerCommand) { c.Env = []string{"A"} },
		"variable's name":  func(c *ContainerCommand) { c.Env = []string{"=b"} },
		"secret's name":    func(c *ContainerCommand) { c.SecretEnv = map[string]Secret{"A B": "x"} },
		"empty secret":     func(c *ContainerCommand) { c.SecretEnv = map[string]Secret{"A": ""} },
		"relative mount":   func(c *ContainerCommand) { c.Mounts = []Mount{{Host: "x", Path: "/x"}} },
		"digest and build": func(c *ContainerCommand) { c.Build, c.Digest = &Build{}, "sha256:"+strings.Repeat("a", 64) },
	} {
		c := good
		change(&c)
		assert.Error(t, c.check(), name)
	}
}

func TestSecret(t *testing.T) {
	c := ContainerCommand{SecretEnv: map[string]Secret{"A": "hf_abc"}}
	encoded, err := json.Marshal(c.SecretEnv)
	require.NoError(t, err)
	shown := fmt.Sprintf("%v %+v %#v %s %q %s", c, c, c, c.SecretEnv, c.SecretEnv["A"], encoded)
	assert.NotContains(t, shown, "hf_abc")
	assert.Equal(t, "hf_abc", c.environment()["A"])

	err = c.conceal(fmt.Errorf("bad variable A=hf_abc: %w", ErrPull))
	assert.EqualError(t, err, "bad variable A=(secret): "+ErrPull.Error())
	assert.ErrorIs(t, err, ErrPull)
	plain := errors.New("another")
	assert.Equal(t, plain, c.conceal(plain))
	assert.NoError(t, c.conceal(nil))
}

func TestServerLog(t *testing.T) {
	check := func(want string, secrets []string, writes ...string) {
		t.Helper()
		values := map[string]Secret{}
		for i, s := range secrets {
			values[strconv.Itoa(i)] = Secret(s)
		}
		path := filepath.Join(t.TempDir(), "sub", "log")
		l, err := newLog(path, values)
		require.NoError(t, err)
		for _, w := range writes {
			n, err := io.WriteString(l, w)
			require.NoError(t, err)
			assert.Equal(t, len(w), n)
		}
		require.NoError(t, l.Close())
		require.NoError(t, l.Close(), "again")
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, want, string(got))
	}
	check("plain words", nil, "plain ", "words")
	check("a (secret) b", []string{"hf_abc"}, "a hf_abc b")
	check("a (secret) b", []string{"hf_abc"}, "a hf", "_a", "bc b")
	check("a hf_ab", []string{"hf_abc"}, "a hf_ab")
	check("(secret)(secret)", []string{"hf_abc"}, "hf_abch", "f_abc")
	check("(secret)", []string{"hf_abc", "hf_abcdef"}, "hf_abc", "def") // the longer one holds the shorter
	check("(secret)", []string{"hf_abc", "hf_abcdef"}, "hf_abc")
	check("(secret)x", []string{"hf_abc", "hf_abcdef"}, "hf_abc", "x")
	check("(secret)", []string{"abab"}, "abab")
	check("(secret) and (secret)", []string{"one", "two"}, "on", "e and t", "wo")
}

func FuzzServerLog(f *testing.F) {
	f.Add("a hf_abc b", uint8(3), "hf_abc")
	f.Add("aaab", uint8(1), "aab")
	f.Fuzz(func(t *testing.T, text string, chunk uint8, secret string) {
		if secret == "" {
			t.Skip("refused before")
		}
		path := filepath.Join(t.TempDir(), "log")
		l, err := newLog(path, map[string]Secret{"A": Secret(secret)})
		require.NoError(t, err)
		for rest := text; rest != ""; {
			n := min(len(rest), int(chunk)+1)
			io.WriteString(l, rest[:n])
			rest = rest[n:]
		}
		require.NoError(t, l.Close())
		got, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, strings.ReplaceAll(text, secret, hidden), string(got))
	})
}

func TestPullProgress(t *testing.T) {
	var out strings.Builder
	p := pullProgress{out: &out, name: "x:1", layers: map[string]*layer{}}
	at := func(id, status string, current, total int64) {
		p.take(jsonstream.Message{ID: id, Status: status, Progress: &jsonstream.Progress{Current: current, Total: total}})
	}
	at("1", "Pulling from library/x", 0, 0)
	at("a", "Already exists", 0, 0)
	at("b", "Pulling fs layer", 0, 0)
	at("c", "Waiting", 0, 0)
	at("b", "Downloading", 1<<20, 4<<20)
	at("b", "Downloading", 1<<20, 4<<20) // nothing new
	at("c", "Downloading", 1<<20, 2<<20)
	at("b", "Download complete", 0, 0)
	at("b", "Extracting", 1, 2)
	at("b", "Pull complete", 0, 0)
	at("c", "Pull complete", 0, 0)
	assert.Equal(t, `pulling x:1: 1 of 1 layers, 0B of 0B
pulling x:1: 1 of 2 layers, 0B of at least 0B
pulling x:1: 1 of 3 layers, 0B of at least 0B
pulling x:1: 1 of 3 layers, 1MiB of at least 4MiB
pulling x:1: 1 of 3 layers, 2MiB of 6MiB
pulling x:1: 1 of 3 layers, 5MiB of 6MiB
pulling x:1: 2 of 3 layers, 5MiB of 6MiB
pulling x:1: 3 of 3 layers, 6MiB of 6MiB
`, out.String())
}

func TestReadUsage(t *testing.T) {
	check := func(name, answer string, want ContainerUsage, wantErr bool) {
		t.Helper()
		got, err := readUsage(strings.NewReader(answer))
		assert.Equal(t, wantErr, err != nil, "%s: %v", name, err)
		assert.Equal(t, want, got, name)
	}
	const cpu = `"cpu_stats":{"cpu_usage":{"total_usage":1500}}`
	check("v2", `{`+cpu+`,"memory_stats":{"usage":1000,"stats":{"inactive_file":300,"file":500}}}`, ContainerUsage{700, 1500}, false)
	check("v1", `{`+cpu+`,"memory_stats":{"usage":1000,"stats":{"inactive_file":1,"total_inactive_file":400}}}`, ContainerUsage{600, 1500}, false)
	check("no stats", `{`+cpu+`,"memory_stats":{"usage":1000}}`, ContainerUsage{1000, 1500}, false)
	check("read at two moments", `{`+cpu+`,"memory_stats":{"usage":10,"stats":{"inactive_file":11}}}`, ContainerUsage{0, 1500}, false)
	check("rootless", `{`+cpu+`,"memory_stats":{}}`, ContainerUsage{}, true)
	check("no answer", ``, ContainerUsage{}, true)
	check("foreign", `{"memory_stats":[]}`, ContainerUsage{}, true)
}

func TestDeviceRequests(t *testing.T) {
	gpu := [][]string{{"gpu"}}
	assert.Nil(t, deviceRequests("", false))
	assert.Equal(t, []container.DeviceRequest{{Count: -1, Capabilities: gpu}}, deviceRequests("all", false))
	assert.Equal(t, []container.DeviceRequest{{DeviceIDs: []string{"0", "2"}, Capabilities: gpu}}, deviceRequests("0,2", false))
	assert.Equal(t, []container.DeviceRequest{{Driver: "cdi", DeviceIDs: []string{"nvidia.com/gpu=0", "nvidia.com/gpu=2"}, Capabilities: gpu}}, deviceRequests("0,2", true))
}

func TestOrphaned(t *testing.T) {
	check := func(name string, want bool, change map[string]string) {
		t.Helper()
		labels := map[string]string{}
		ownLabels(labels)
		maps.Copy(labels, change)
		assert.Equal(t, want, orphaned(labels), name)
	}
	start, running := processStart(os.Getpid())
	require.True(t, running)
	check("this suite", false, nil)
	check("its number was another's", true, map[string]string{labelStart: strconv.FormatInt(start-10*startTolerance, 10)})
	check("its number will be another's", true, map[string]string{labelStart: strconv.FormatInt(start+10*startTolerance, 10)})
	check("gone", true, map[string]string{labelPID: strconv.Itoa(1 << 30)})
	check("another machine's", false, map[string]string{labelPID: strconv.Itoa(1 << 30), labelHost: "x"})
	check("foreign labels", false, map[string]string{labelPID: "x"})
	check("no start", false, map[string]string{labelStart: ""})
}

func TestFindCgroup(t *testing.T) {
	check := func(name string, want *ContainerUsage, lines string, files map[string]string) {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range files {
				require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(file)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(root, file), []byte(text), 0o644))
			}
			g := findCgroup(root, lines)
			if want == nil {
				assert.Nil(t, g)
				return
			}
			require.NotNil(t, g)
			got, err := g.usage()
			require.NoError(t, err)
			assert.Equal(t, *want, got)
			require.NoError(t, os.RemoveAll(root))
			_, err = g.usage()
			assert.Error(t, err, "the container is gone")
		})
	}
	v2 := map[string]string{"system.slice/docker-c0.scope/memory.current": "1000\n",
		"system.slice/docker-c0.scope/memory.stat": "anon 5\ninactive_file 300\nodd\n", "system.slice/docker-c0.scope/cpu.stat": "usage_usec 7\nuser_usec 6\n"}
	check("v2", &ContainerUsage{700, 7000}, "0::/system.slice/docker-c0.scope\n", v2)
	check("v2, from another namespace", nil, "0::/../docker-c0.scope\n", v2)
	check("v2, without CPU", nil, "0::/g\n", map[string]string{"g/memory.current": "1", "g/memory.stat": "", "g/cpu.stat": "user_usec 6\n"})
	v1 := map[string]string{"memory/docker/c0/memory.usage_in_bytes": "1000\n",
		"memory/docker/c0/memory.stat": "inactive_file 1\ntotal_inactive_file 400\n", "cpuacct/docker/c0/cpuacct.usage": "1500\n"}
	check("v1", &ContainerUsage{600, 1500}, "9:memory:/docker/c0\n4:cpu,cpuacct:/docker/c0\n1:name=systemd:/docker/c0\n0::/docker/c0\n", v1)
	check("v1, apart", &ContainerUsage{600, 1500}, "0::/x\n4:cpuacct:/docker/c0\n3:cpu:/docker/c0\n9:memory:/docker/c0\n", v1)
	check("v1, no memory", nil, "4:cpuacct:/docker/c0\n", v1)
	check("foreign", nil, "what\n::\n:", nil)
	check("not a number", nil, "0::/g\n", map[string]string{"g/memory.current": "max", "g/memory.stat": "", "g/cpu.stat": "usage_usec 1"})
}
