package machine

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDescribe(t *testing.T) {
	m, warnings := Describe(t.Context())
	t.Log(warnings)
	assert.NotEmpty(t, m.CPU)
	assert.Equal(t, runtime.GOARCH, m.Arch)
	assert.Equal(t, runtime.NumCPU(), m.Cores)
	assert.Positive(t, m.Memory)
	assert.NotEmpty(t, m.OS)
	again, _ := Describe(t.Context())
	m.Differences(&again, func(what string, was, is any) { assert.Equal(t, was, is, what) })

	data, err := json.Marshal(m)
	require.NoError(t, err)
	t.Log(string(data))
	var read Machine
	require.NoError(t, json.Unmarshal(data, &read))
	assert.Equal(t, m, read)
}

// The processor is named as go test names it, or benchstat would part the
// suite's tables from those of captured output.
func TestCPUName(t *testing.T) {
	out, err := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkNothing$", "-test.benchtime=1x").CombinedOutput()
	require.NoError(t, err)
	_, rest, ok := strings.Cut(string(out), "\ncpu: ")
	if !ok {
		t.Skip("SKIPPED, not tested here: go test does not know this processor's name")
	}
	name, _, _ := strings.Cut(rest, "\n")
	m, _ := Describe(t.Context())
	assert.Equal(t, name, m.CPU)
}

func BenchmarkNothing(*testing.B) {}

// tree makes files below a folder.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		p := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
	}
	return root
}

func TestLimits(t *testing.T) {
	check := func(name string, files map[string]string, memory uint64, quota float64) {
		t.Helper()
		root := tree(t, files)
		var m Machine
		m.limits(root, filepath.Join(root, "self"))
		assert.Equal(t, memory, m.MemoryMax, name)
		assert.InDelta(t, quota, m.CPUQuota, 1e-9, name)
	}
	check("version 2", map[string]string{"self": "0::/a\n", "a/memory.max": "1024\n", "a/cpu.max": "150000 100000\n"}, 1024, 1.5)
	check("version 2 without limits", map[string]string{"self": "0::/a\n", "a/memory.max": "max\n", "a/cpu.max": "max 100000\n"}, 0, 0)
	check("version 2 in a container", map[string]string{"self": "0::/outside/path\n", "memory.max": "2048\n", "cpu.max": "50000 100000\n"}, 2048, 0.5)
	check("version 1", map[string]string{"self": "5:memory:/b\n2:cpu,cpuacct:/b\n0::/\n",
		"memory/b/memory.limit_in_bytes": "4096\n", "cpu,cpuacct/b/cpu.cfs_quota_us": "200000", "cpu,cpuacct/b/cpu.cfs_period_us": "100000"}, 4096, 2)
	check("version 1 without limits", map[string]string{"self": "5:memory:/\n2:cpu:/\n",
		"memory/memory.limit_in_bytes": "9223372036854771712\n", "cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 0, 0)
	check("the smaller one counts", map[string]string{"self": "0::/a\n", "a/memory.max": "1024\n", "memory.max": "512"}, 512, 0)
	check("no control groups", map[string]string{}, 0, 0)
	check("not what it should be", map[string]string{"self": "0:\n::\n\n0::/a", "a/memory.max": "-", "a/cpu.max": "x"}, 0, 0)
}

func TestFrequency(t *testing.T) {
	var m Machine
	m.frequency(tree(t, map[string]string{"scaling_governor": "performance\n", "scaling_cur_freq": "2100000\n", "scaling_max_freq": "3500000\n"}))
	assert.Equal(t, Machine{Governor: "performance", MHz: 2100, MaxMHz: 3500}, m)
	m = Machine{MHz: 1000}
	m.frequency(t.TempDir())
	assert.Equal(t, Machine{MHz: 1000}, m)
}

func TestContainer(t *testing.T) {
	t.Setenv("container", "")
	check := func(file, text, want string) {
		t.Helper()
		assert.Equal(t, want, container(tree(t, map[string]string{file: text})))
	}
	check(".dockerenv", "", "docker")
	check("run/.containerenv", "", "podman")
	check("proc/1/cgroup", "0::/kubepods/besteffort\n", "kubepods")
	check("proc/1/cgroup", "0::/\n", "")
	t.Setenv("container", "lxc")
	check("x", "", "lxc")
}
