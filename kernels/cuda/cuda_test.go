package cuda

import (
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/kerneltest"
	"servebench/testdata"
)

// newDevice opens the library under test; what it made is closed with the test.
func newDevice(t testing.TB, dtype kernels.DType) *Device {
	t.Helper()
	return newDeviceOf(t, testdata.CUDA(t), dtype)
}

// newDeviceOf is newDevice of another library.
func newDeviceOf(t testing.TB, library string, dtype kernels.DType) *Device {
	t.Helper()
	d, err := New(Options{Library: library, DType: dtype, MaxTokens: kerneltest.MaxRows, MaxSeqs: kerneltest.MaxRows,
		MaxBlocks: kerneltest.MaxBlocks})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// smallRows is kSmallRows of internal.cuh: more are multiplied by cuBLASLt.
const smallRows = 16

// Every access is watched in the dtype that servers run in, and in all of them by
// `make test-cuda-sim`: it takes twice the time.
func TestDevice(t *testing.T) {
	traits := kerneltest.Traits{DTypes: []kernels.DType{kernels.F32, kernels.BF16, kernels.F16}, RoundsWeights: true, SameRows: smallRows, DrawsAndKeeps: true}
	kerneltest.Run(t, traits, func(t *testing.T, dtype kernels.DType) kernels.Device {
		if dtype == kernels.BF16 {
			return newDevice(t, dtype)
		}
		return newDeviceOf(t, testdata.FastCUDA(t), dtype)
	})
}

// Devices come and go, are open side by side, and keep out of each other's way.
func TestSeveral(t *testing.T) {
	s := simulated(t)
	s.set("device", "h100,a100")
	all, err := Devices(s.path)
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.NotEqual(t, all[0].Name, all[1].Name)
	o := s.small(kernels.BF16)
	want, err := do(o)
	require.NoError(t, err)
	first, err := New(o)
	require.NoError(t, err)
	for i := range 6 {
		o.Device = i % 2
		got, err := do(o)
		require.NoError(t, err)
		require.Len(t, got, len(want))
		if o.Device == 0 { // another GPU may add products up in another order
			require.Equal(t, want, got)
		}
	}
	o.Device = 1
	second, err := New(o)
	require.NoError(t, err)
	require.Contains(t, first.Name(), all[0].Name)
	require.Contains(t, second.Name(), all[1].Name)
	require.NoError(t, first.Close())
	j := &job{d: second}
	require.NoError(t, j.load())
	require.NoError(t, j.allocate())
	require.NoError(t, second.Capture(2, func() { j.forward(2, 2) }))
	got, err := j.generate()
	require.NoError(t, err)
	require.Len(t, got, len(want))
	require.NoError(t, second.Close())
	s.clean("closed")
}

// A captured step leaves nothing for the garbage collector, nor does one that is not.
func TestGarbage(t *testing.T) {
	if testdata.Race {
		t.Skip("SKIPPED, not tested here: under the race detector pools forget what they are given")
	}
	d := newDevice(t, kernels.BF16)
	d.options.MaxTokens = 24 // of the job's buffers
	j := &job{d: d}
	require.NoError(t, j.load())
	require.NoError(t, j.allocate())
	require.NoError(t, d.Capture(2, func() { j.forward(2, 2) }))
	s := j.step([]int{0, 0}, []int32{1}, []int32{2})
	draws := j.draws(0)
	steady := func() {
		started, err := d.Decode(s)
		if err != nil || !started {
			t.Fatal(started, err)
		}
		d.Draw(j.logits, jobVocab, draws)
		if err := d.Submit(); err != nil {
			t.Fatal(err)
		}
		if _, err := d.Drawn(); err != nil {
			t.Fatal(err)
		}
	}
	steady()
	assert.Zero(t, testing.AllocsPerRun(50, steady))
	assert.Zero(t, testing.AllocsPerRun(10, func() {
		if err := d.Begin(s); err != nil {
			t.Fatal(err)
		}
		j.forward(2, 2)
		if err := d.End(); err != nil {
			t.Fatal(err)
		}
	}))
}

// What another device made is not memory that the GPU may touch.
func TestForeign(t *testing.T) {
	a, b := newDevice(t, kernels.F32), newDevice(t, kernels.F32)
	own, err := a.NewBuffer(2, 2)
	require.NoError(t, err)
	other, err := b.NewBuffer(2, 2)
	require.NoError(t, err)
	step := &kernels.Step{Tokens: []int32{0}, Positions: []int32{0}, Slots: []int32{0}, Starts: []int32{0, 1}, Lens: []int32{1}}
	require.NoError(t, a.Begin(step))
	require.PanicsWithValue(t, "cuda: Add: a buffer of another device", func() { a.Add(own, other, 2) })
	require.NoError(t, a.End())
}

// Steps larger than the device was opened for are refused.
func TestLimits(t *testing.T) {
	d, err := New(Options{Library: testdata.CUDA(t), MaxTokens: 4, MaxSeqs: 2, MaxBlocks: 3})
	require.NoError(t, err)
	defer func() { require.NoError(t, d.Close()) }()
	step := func(tokens, seqs, out, blocks int) *kernels.Step {
		s := &kernels.Step{Tokens: make([]int32, tokens), Positions: make([]int32, tokens), Slots: make([]int32, tokens),
			MaxBlocks: blocks, Starts: []int32{0}, Blocks: make([]int32, seqs*blocks)}
		for q := range seqs {
			last := q + 1
			if q == seqs-1 {
				last = tokens
			}
			for i := q; i < last; i++ {
				s.Positions[i] = int32(i - q)
			}
			s.Starts, s.Lens = append(s.Starts, int32(last)), append(s.Lens, int32(last-q))
		}
		for i := range out {
			s.Out = append(s.Out, int32(i))
		}
		return s
	}
	for field, s := range map[string]*kernels.Step{"": step(4, 2, 2, 3), "Tokens": step(5, 2, 2, 3), "Lens": step(4, 3, 2, 3),
		"Out": step(4, 2, 3, 3), "MaxBlocks": step(4, 2, 2, 4)} {
		err := d.Begin(s)
		if field == "" {
			require.NoError(t, err)
			require.NoError(t, d.End())
			continue
		}
		require.ErrorIs(t, err, kernels.ErrStep)
		require.ErrorContains(t, err, field)
	}
}

func TestOptions(t *testing.T) {
	for says, o := range map[string]Options{
		"Device is -1":         {Device: -1, MaxTokens: 1, MaxSeqs: 1, MaxBlocks: 1},
		"MaxTokens is 0":       {MaxSeqs: 1, MaxBlocks: 1},
		"MaxSeqs is 2":         {MaxTokens: 1, MaxSeqs: 2, MaxBlocks: 1},
		"MaxBlocks is":         {MaxTokens: 1, MaxSeqs: 1, MaxBlocks: math.MaxInt},
		"more than 268435456":  {MaxTokens: 1 << 20, MaxSeqs: 1 << 20, MaxBlocks: 1 << 20},
		"float16, not DType(7": {DType: 7, MaxTokens: 1, MaxSeqs: 1, MaxBlocks: 1},
	} {
		_, err := New(o)
		require.ErrorContains(t, err, says)
	}
}

// The Go side of the ABI is the header's: names, version, order of the enums and
// sizes of the structs.
func TestABI(t *testing.T) {
	raw, err := os.ReadFile(testdata.Path("..", "kernels", "cuda", "kernels.h"))
	require.NoError(t, err)
	header := string(regexp.MustCompile(`(?m)//.*$`).ReplaceAll(raw, nil))
	version := regexp.MustCompile(`#define SBC_VERSION (\d+)u`).FindStringSubmatch(header)
	require.Len(t, version, 2)
	require.Equal(t, strconv.Itoa(abiVersion), version[1])
	var names []string
	for _, m := range regexp.MustCompile(`(?m)^[a-z][a-z0-9_ ]*[ *](sbc_[a-z_]+)\(`).FindAllStringSubmatch(header, -1) {
		names = append(names, m[1])
	}
	require.ElementsMatch(t, functionNames[:], names)

	enum := func(first string) (names []string) {
		t.Helper()
		body := regexp.MustCompile(`enum \{\s*(` + first + `[^}]*)\}`).FindStringSubmatch(header)
		require.Len(t, body, 2, first)
		return regexp.MustCompile(`SBC_[A-Z0-9_]+`).FindAllString(body[1], -1)
	}
	check := func(constant int, name string) {
		t.Helper()
		for _, first := range []string{"SBC_F32", "SBC_GELU_TANH", "SBC_OK", "SBC_LIMIT_READ"} {
			if i := slices.Index(enum(first), name); i >= 0 {
				require.Equal(t, i, constant, name)
				return
			}
		}
		require.Fail(t, "not in the header", name)
	}
	for name, s := range map[string]status{"SBC_OK": statusOK, "SBC_ARGUMENT": statusArgument, "SBC_NO_DRIVER": statusNoDriver,
		"SBC_NO_DEVICE": statusNoDevice, "SBC_ARCHITECTURE": statusArchitecture, "SBC_MEMORY": statusMemory,
		"SBC_LIBRARY": statusLibrary, "SBC_FAILED": statusFailed, "SBC_LOST": statusLost} {
		check(int(s), name)
	}
	require.Len(t, sentinels, len(enum("SBC_OK"))-1, "an error of each")
	for name, d := range map[string]kernels.DType{"SBC_F32": kernels.F32, "SBC_BF16": kernels.BF16, "SBC_F16": kernels.F16} {
		check(int(d), name)
	}
	check(int(kernels.GELUTanh), "SBC_GELU_TANH")
	check(int(kernels.SiLU), "SBC_SILU")
	check(int(LimitRead), "SBC_LIMIT_READ")
	check(int(LimitFMA), "SBC_LIMIT_FMA")
	check(int(LimitDot), "SBC_LIMIT_DOT")
	drawn := regexp.MustCompile(`#define SBC_DRAWN (\d+)`).FindStringSubmatch(header)
	require.Len(t, drawn, 2)
	require.Equal(t, strconv.Itoa(mostDrawn), drawn[1])

	for name, sizes := range map[string][2]uintptr{
		"sbc_device": {unsafe.Sizeof(cDevice{}), 216}, "sbc_options": {unsafe.Sizeof(cOptions{}), 24},
		"sbc_weight": {unsafe.Sizeof(cWeight{}), 24}, "sbc_kv": {unsafe.Sizeof(cKV{}), 32},
		"sbc_step": {unsafe.Sizeof(cStep{}), 88}, "sbc_attn": {unsafe.Sizeof(cAttn{}), 24},
		"sbc_norm_args": {unsafe.Sizeof(cNorm{}), 56}, "sbc_draw": {unsafe.Sizeof(cDraw{}), 48},
	} {
		require.Equal(t, sizes[1], sizes[0], name)
	}
}
