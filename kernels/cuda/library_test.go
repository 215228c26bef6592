package cuda

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/testdata"
)

func TestNoLibrary(t *testing.T) {
	if err := available(); err != nil {
		_, err := New(Options{MaxTokens: 1, MaxSeqs: 1, MaxBlocks: 1})
		require.ErrorIs(t, err, ErrUnavailable)
		_, err = Devices("")
		require.ErrorIs(t, err, ErrUnavailable)
		return
	}
	dir := t.TempDir()
	text := filepath.Join(dir, "text.so")
	require.NoError(t, os.WriteFile(text, []byte("no library at all"), 0o600))
	for _, c := range []struct {
		path string
		env  string
		says []string
	}{
		{filepath.Join(dir, "absent.so"), "", []string{"absent.so", "the path given", "make cuda"}},
		{"", filepath.Join(dir, "absent.so"), []string{"absent.so", "$SERVEBENCH_CUDA_LIBRARY"}},
		{dir, "", []string{"is a folder", LibraryName}},
		{text, filepath.Join(dir, "absent.so"), []string{"text.so"}}, // what is given counts
		{"", "", []string{LibraryName, "next to the program", "../lib", "make cuda", "--cuda-library"}},
	} {
		t.Setenv(LibraryVariable, c.env)
		_, err := New(Options{Library: c.path, MaxTokens: 1, MaxSeqs: 1, MaxBlocks: 1})
		require.ErrorIs(t, err, ErrLibrary, "%+v", c)
		for _, s := range c.says {
			require.ErrorContains(t, err, s, "%+v", c)
		}
		_, err = Devices(c.path)
		require.ErrorIs(t, err, ErrLibrary, "%+v", c)
	}
}

// compile makes a library of C source.
func compile(t *testing.T, name, source string, args ...string) string {
	t.Helper()
	cc, err := exec.LookPath("cc")
	if err != nil {
		t.Skip("SKIPPED, not tested here: there is no C compiler (cc) to make a library that does not fit")
	}
	file := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(file+".c", []byte(source), 0o600))
	out, err := exec.Command(cc, append([]string{"-shared", "-fPIC", "-o", file, file + ".c"}, args...)...).CombinedOutput()
	require.NoError(t, err, "%s", out)
	return file
}

// Libraries of another kind or version, and one whose own libraries are missing.
func TestWrongLibrary(t *testing.T) {
	if available() != nil {
		t.Skip("SKIPPED, not tested here: this build loads no library")
	}
	every := ""
	for _, name := range functionNames[1:] {
		every += fmt.Sprintf("int %s(void) { return 1; }\n", name)
	}
	dependency := compile(t, "libcublasLt.so.99", "int blas;", "-Wl,-soname,libcublasLt.so.99")
	needs := compile(t, "libneeds.so", every, "-Wl,--no-as-needed", dependency)
	require.NoError(t, os.Remove(dependency))
	for _, c := range []struct {
		path string
		says []string
	}{
		{compile(t, "libother.so", "int other;"), []string{"libother.so lacks sbc_version", "make cuda"}},
		{compile(t, "libpart.so", "unsigned sbc_version(void) { return 1; }"), []string{"libpart.so lacks sbc_message"}},
		{compile(t, "libnew.so", every+"unsigned sbc_version(void) { return 99; }"), []string{"version 99", "this program version 1", "make cuda"}},
		{needs, []string{"libneeds.so needs", "libcublasLt.so.99", "LD_LIBRARY_PATH"}},
	} {
		_, err := New(Options{Library: c.path, MaxTokens: 1, MaxSeqs: 1, MaxBlocks: 1})
		require.ErrorIs(t, err, ErrLibrary)
		for _, s := range c.says {
			require.ErrorContains(t, err, s)
		}
	}
}

// The library is found next to the program and in ../lib, by a program that is
// started from elsewhere, through a link.
func TestFindLibrary(t *testing.T) {
	const child = "SERVEBENCH_TEST_FIND"
	if os.Getenv(child) != "" {
		path, err := findLibrary("")
		fmt.Println("found", path, err)
		return
	}
	exe, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(exe)
	require.NoError(t, err)
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	bin, link := filepath.Join(root, "bin", "program"), filepath.Join(root, "link")
	for _, dir := range []string{"bin", "lib"} {
		require.NoError(t, os.Mkdir(filepath.Join(root, dir), 0o700))
	}
	require.NoError(t, os.WriteFile(bin, program, 0o700))
	require.NoError(t, os.Symlink(bin, link))
	check := func(want string) {
		t.Helper()
		cmd := exec.Command(link, "-test.run=^TestFindLibrary$")
		cmd.Dir, cmd.Env = os.TempDir(), append(os.Environ(), child+"=1", LibraryVariable+"=")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Contains(t, string(out), "found "+want+" <nil>")
	}
	check(LibraryName)
	for _, dir := range []string{"lib", "bin"} { // the second is looked at first
		file := filepath.Join(root, dir, LibraryName)
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		if dir == "lib" {
			file = filepath.Join(root, "bin", "..", "lib", LibraryName)
		}
		check(filepath.Clean(file))
	}
}

// Every reason why there is no GPU has an error of its own, which says what to do,
// and leaves nothing behind.
func TestNoDevice(t *testing.T) {
	for _, c := range []struct {
		setting, value string
		device         int
		want           error
		says           []string
		listed         error // of Devices
	}{
		{"driver", "missing", 0, ErrDriver, []string{"no NVIDIA driver", "--gpus all"}, ErrDriver},
		{"driver", "old", 0, ErrDriver, []string{"11.4", "update"}, ErrDriver},
		{"device", "none", 0, ErrNoDevice, []string{"nvidia-smi -L", "CUDA_VISIBLE_DEVICES"}, nil},
		{"device", "old", 0, ErrArchitecture, []string{"7.5", "8.0"}, nil},
		{"device", "future", 0, ErrArchitecture, []string{"CUDA_ARCHS"}, nil},
		{"device", "h100", 1, ErrNoDevice, []string{"no GPU 1", "has 1"}, nil},
		{"memory", "1M", 0, ErrMemory, []string{"no room"}, nil},
	} {
		t.Run(c.setting+" "+c.value, func(t *testing.T) {
			s := simulated(t)
			s.set(c.setting, c.value)
			o := s.small(kernels.BF16)
			o.Device, o.MaxSeqs, o.MaxTokens, o.MaxBlocks = c.device, 1000, 1000, 1000
			_, err := New(o)
			require.Equal(t, []error{c.want}, sentinelsOf(err), "%v", err)
			for _, text := range c.says {
				require.ErrorContains(t, err, text)
			}
			s.clean("New")
			all, err := Devices(s.path)
			require.ErrorIs(t, err, c.listed)
			if c.listed == nil && c.value != "none" {
				require.Len(t, all, 1)
				require.True(t, all[0].Simulated)
			} else {
				require.Empty(t, all)
			}
		})
	}
}

func TestAbout(t *testing.T) {
	path := testdata.CUDA(t)
	all, err := Devices(path)
	require.NoError(t, err)
	require.NotEmpty(t, all)
	d, err := New(Options{Library: path, MaxTokens: 16, MaxSeqs: 2, MaxBlocks: 4})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	a, err := d.About()
	require.NoError(t, err)
	require.Positive(t, a.Free)
	require.Less(t, a.Free, a.Memory)
	a.Free = all[0].Free
	require.Equal(t, all[0], a)
	require.Contains(t, d.Name(), "cuda:0 ("+a.Name)
	for _, l := range []Limit{LimitRead, LimitFMA, LimitDot} {
		v, err := d.Limit(l)
		require.NoError(t, err)
		require.Positive(t, v)
	}
	b, err := d.NewBuffer(16, 16)
	require.NoError(t, err)
	require.NoError(t, d.Begin(&kernels.Step{Tokens: []int32{0}, Positions: []int32{0}, Slots: []int32{0}, Starts: []int32{0, 1}, Lens: []int32{1}}))
	sec, err := d.Time(func() { d.Activate(b, mustBuffer(t, d), kernels.SiLU, false, 16) })
	require.NoError(t, err)
	require.GreaterOrEqual(t, sec, 0.0)
	require.NoError(t, d.End())
}

func mustBuffer(t *testing.T, d *Device) kernels.Buffer {
	t.Helper()
	b, err := d.NewBuffer(16, 16)
	require.NoError(t, err)
	return b
}

func TestStatus(t *testing.T) {
	require.NotEmpty(t, sentinelsOf(status(99).err("x", "y")))
	require.ErrorIs(t, status(99).err("x", ""), ErrLibrary)
	require.False(t, errors.Is(statusMemory.err("x", ""), ErrLost))
}
