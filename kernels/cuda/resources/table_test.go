package resources

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func requireFilter(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("c++filt"); err != nil {
		t.Skip("SKIPPED, not tested here: there is no c++filt (binutils)")
	}
}

// Figures that can be worked out by hand from the guide's limits.
func TestOccupancy(t *testing.T) {
	check := func(arch string, threads, registers, shared, blocks int, share float64) {
		t.Helper()
		b, s, err := Occupancy(arch, threads, registers, shared)
		require.NoError(t, err)
		assert.Equal(t, blocks, b, "blocks: %s, %d threads, %d registers, %d bytes", arch, threads, registers, shared)
		assert.InDelta(t, share, s, 1e-9, "share: %s, %d threads, %d registers, %d bytes", arch, threads, registers, shared)
	}
	check("sm_80", 256, 32, 0, 8, 1)           // 64 warps of 8
	check("sm_86", 256, 32, 0, 6, 1)           // 48 warps of 8
	check("sm_90", 1024, 32, 0, 2, 1)          // 64 warps of 32
	check("sm_80", 1024, 65, 0, 0, 0)          // 32 warps of 2304 registers are more than there are
	check("sm_80", 128, 168, 0, 3, 12./64)     // 5376 a warp: 3 a partition
	check("sm_80", 128, 255, 0, 2, 8./64)      // 8192 a warp: 2 a partition
	check("sm_80", 32, 16, 0, 32, .5)          // 32 blocks at most
	check("sm_86", 32, 16, 0, 16, 16./48)      // 16
	check("sm_89", 32, 16, 0, 24, .5)          // 24
	check("sm_80", 128, 32, 48<<10, 3, 12./64) // 49 KB of 164
	check("sm_90", 128, 32, 48<<10, 4, 16./64) // of 228
	check("sm_86", 128, 32, 99<<10, 1, 4./48)  // all that a block can have
	check("sm_86", 128, 32, 99<<10+1, 0, 0)    // more
	check("sm_80", 33, 32, 0, 32, 1)           // two warps
	check("sm_80", 96, 128, 0, 5, 15./64)      // 16 warps of 4096 registers, three a block
	for _, bad := range [][4]int{{0, 32, 0}, {1025, 32, 0}, {32, -1, 0}, {32, 32, -1}} {
		_, _, err := Occupancy("sm_80", bad[0], bad[1], bad[2])
		assert.Error(t, err, "%v", bad)
	}
	_, _, err := Occupancy("sm_70", 32, 32, 0)
	assert.ErrorContains(t, err, "sm_70")
}

func TestTable(t *testing.T) {
	b := &Build{Release: "13.0", Kernels: []Kernel{
		{File: "rows.cu", Name: "norm_kernel<f16, 2>", Arch: "sm_90", Threads: 256, Registers: 40, Shared: 128},
		{File: "rows.cu", Name: "norm_kernel<f16, 2>", Arch: "sm_80", Threads: 256, Registers: 42, Shared: 128},
		{File: "draw.cu", Name: "draw_kernel", Arch: "sm_80", Threads: 1024, Registers: 64, Spilled: 8, Stack: 16},
	}}
	want, err := TableOf(b)
	require.NoError(t, err)
	require.Len(t, want.Rows, 3)
	assert.Equal(t, Row{File: "draw.cu", Kernel: "draw_kernel", Arch: "sm_80", Threads: 1024, Registers: 64, Spilled: 8, Stack: 16, Blocks: 1, Occupancy: 50}, want.Rows[0])
	assert.Equal(t, "sm_80", want.Rows[1].Arch)

	var text bytes.Buffer
	require.NoError(t, want.Write(&text))
	got, err := ReadTable(&text)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Empty(t, want.Differ(got))

	got.Rows[1].Registers++
	got.Rows[2].Kernel = "rms_kernel"
	said := want.Differ(got)
	require.Len(t, said, 3)
	assert.Contains(t, said[0], "Registers:42")
	assert.Contains(t, said[0], "Registers:43")
	assert.Contains(t, said[1], "not in the library")
	assert.Contains(t, said[2], "not in the table")
	got.Rows = got.Rows[:2] // of sm_80 alone
	got.Rows[1].Registers--
	assert.Empty(t, want.Differ(got), "architectures that were not built are not compared")

	b.Kernels[2].Threads = 0
	_, err = TableOf(b)
	assert.ErrorContains(t, err, "__launch_bounds__")
	b.Kernels[2] = b.Kernels[0]
	_, err = TableOf(b)
	assert.ErrorContains(t, err, "both have a kernel")
}

func TestReadTableRefuses(t *testing.T) {
	head := strings.Replace(remark, "%s", "13.0", 1) + strings.Join(columns, ",") + "\n"
	for text, want := range map[string]string{
		"":                                      "line 1",
		"a,b\n":                                 "line 1",
		remark + "a,b\n":                        "wrong number of fields",
		head + "a.cu,b\n":                       "wrong number of fields",
		head + "a.cu,b,sm_80,1,2,3,4,5,6,7,x\n": "row 1",
	} {
		_, err := ReadTable(strings.NewReader(text))
		assert.ErrorContains(t, err, want, text)
	}
}
