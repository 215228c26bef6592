package resources

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// requiredEnv, set to "required", makes tests fail that would be skipped where the
// library was not built.
const requiredEnv = "SERVEBENCH_CUDA"

// built is what build.sh has left. The test is skipped where that is nothing.
func built(t *testing.T) (b *Build, dir string) {
	t.Helper()
	dir = filepath.Join("..", "..", "..", "bin", "obj", "cuda")
	b, err := ReadBuild(dir)
	if errors.Is(err, ErrNotBuilt) && os.Getenv(requiredEnv) != "required" {
		t.Skipf("SKIPPED, not tested here: %v (%s=required makes this an error)", err, requiredEnv)
	}
	require.NoError(t, err)
	return b, dir
}

// TestResources compares the table with what ptxas has said. Another nvcc hands out
// registers otherwise: what it compiles is not compared, but may not spill either.
func TestResources(t *testing.T) {
	b, _ := built(t)
	got, err := TableOf(b)
	require.NoError(t, err)
	for _, r := range got.Rows {
		assert.Zerof(t, r.Spilled, "%s: %s for %s spills registers", r.File, r.Kernel, r.Arch)
		assert.Positivef(t, r.Blocks, "%s: no block of %s fits on %s", r.File, r.Kernel, r.Arch)
	}
	f, err := os.Open(filepath.Join("..", "resources.csv"))
	require.NoError(t, err)
	defer f.Close()
	table, err := ReadTable(f)
	require.NoError(t, err)
	if table.Release != b.Release {
		t.Skipf("SKIPPED, not compared here: the table is of nvcc %s, the library of %s", table.Release, b.Release)
	}
	if said := table.Differ(got); len(said) > 0 {
		t.Errorf("resources.csv is not of these kernels. If the changes are meant, `make cuda-resources` writes it anew:\n%s", strings.Join(said, "\n"))
	}
}
