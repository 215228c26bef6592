package launch

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPython(t *testing.T) {
	dir := t.TempDir()
	_, _, err := Environment(dir)
	assert.ErrorContains(t, err, "is no Python environment")

	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	for _, name := range []string{"python3", "vllm"} {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), nil, 0o755))
	}
	t.Setenv("PATH", "/usr/bin")
	add, drop, err := Environment(dir)
	require.NoError(t, err)
	assert.Equal(t, []string{"VIRTUAL_ENV=" + dir, "PATH=" + bin + ":/usr/bin"}, add)
	assert.Equal(t, []string{"PYTHONHOME"}, drop)

	path, ok := LookPath(dir, "vllm")
	assert.True(t, ok)
	assert.Equal(t, filepath.Join(bin, "vllm"), path)
	for _, where := range []string{dir, ""} {
		_, ok = LookPath(where, "sglang")
		assert.False(t, ok)
	}
}

func TestEnvironOfCommand(t *testing.T) {
	t.Setenv("SERVEBENCH_TEST_KEPT", "own")
	t.Setenv("SERVEBENCH_TEST_TAKEN", "own")
	t.Setenv("SERVEBENCH_TEST_SET", "own")
	c := Command{Env: []string{"SERVEBENCH_TEST_SET=new"}, Drop: []string{"SERVEBENCH_TEST_TAKEN"}}
	env := c.environ()
	assert.Contains(t, env, "SERVEBENCH_TEST_KEPT=own")
	assert.Contains(t, env, "SERVEBENCH_TEST_SET=new")
	assert.NotContains(t, env, "SERVEBENCH_TEST_SET=own", "of two the first would count for some programs, the last for others")
	assert.NotContains(t, env, "SERVEBENCH_TEST_TAKEN=own")
}
