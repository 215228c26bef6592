package resources

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What nvcc 13.0 printed for two kernels, one with a function that is not inlined.
const ptxasLog = `ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN3sbc11norm_kernelIfEEvPfPKfi' for 'sm_80'
ptxas info    : Function properties for _ZN3sbc11norm_kernelIfEEvPfPKfi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 4096 bytes smem, 380 bytes cmem[0]
ptxas info    : Compile time = 12.345 ms
ptxas info    : Compiling entry function '_ZN3sbcL11draw_kernelEPKfi' for 'sm_90'
ptxas info    : Function properties for _ZN3sbcL11draw_kernelEPKfi
    40 bytes stack frame, 12 bytes spill stores, 16 bytes spill loads
ptxas info    : Function properties for __internal_trig
    48 bytes stack frame, 4 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 255 registers, 512 bytes cmem[0]
`

func TestReadPtxas(t *testing.T) {
	got, err := readPtxas(strings.NewReader(ptxasLog))
	require.NoError(t, err)
	require.Len(t, got, 2)
	assert.Equal(t, said{symbol: "_ZN3sbc11norm_kernelIfEEvPfPKfi", arch: "sm_80", registers: 32, shared: 4096, properties: true, used: true}, got[0])
	assert.Equal(t, said{symbol: "_ZN3sbcL11draw_kernelEPKfi", arch: "sm_90", registers: 255, stack: 48, stores: 16, loads: 16, properties: true, used: true}, got[1])

	// Another format must not pass for a kernel that takes nothing.
	for name, cut := range map[string]string{"Used": "ptxas info    : Used 32", "properties": "    0 bytes stack frame"} {
		_, err := readPtxas(strings.NewReader(strings.Replace(ptxasLog, cut, "ptxas says", 1)))
		assert.ErrorContains(t, err, "norm_kernel", name)
	}
}

const ptx = `.version 9.0
.target sm_80
.visible .entry _ZN3sbc11norm_kernelIfEEvPfPKfi(
	.param .u64 _ZN3sbc11norm_kernelIfEEvPfPKfi_param_0,
	.param .align 8 .b8 _ZN3sbc11norm_kernelIfEEvPfPKfi_param_1[24]
)
.maxntid 64, 4, 1
.minnctapersm 2
{
	.reg .b32 	%r<9>;
	ld.global.nc.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1];
	{  cvt.rn.bf16.f32 %rs1, %f1;}
$L__BB0_1:
	{
		ret;
	}
}
	// .globl	two
.entry two()
{
	ret;
}
`

func TestReadPTX(t *testing.T) {
	got, err := ReadPTX(strings.NewReader(ptx))
	require.NoError(t, err)
	require.Len(t, got, 2)
	assert.Equal(t, "_ZN3sbc11norm_kernelIfEEvPfPKfi", got[0].Symbol)
	assert.Equal(t, 256, got[0].Threads)
	assert.Contains(t, got[0].Body, "ld.global.nc.v4.u32")
	assert.NotContains(t, got[0].Body, ".param")
	assert.Equal(t, Entry{Symbol: "two", Body: "{\n\tret;\n"}, got[1])

	_, err = ReadPTX(strings.NewReader(ptx[:strings.Index(ptx, "$L__BB0_1")]))
	assert.ErrorContains(t, err, "has no end")
	_, err = ReadPTX(strings.NewReader(strings.Replace(ptx, "\t}\n}\n", "\n", 1)))
	assert.ErrorContains(t, err, "a kernel within")
}

func FuzzRead(f *testing.F) {
	f.Add(ptxasLog)
	f.Add(ptx)
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = readPtxas(strings.NewReader(text))
		_, _ = ReadPTX(strings.NewReader(text))
		_, _ = ReadTable(strings.NewReader(text))
	})
}

func TestPlain(t *testing.T) {
	check := func(name, want string) {
		t.Helper()
		assert.Equal(t, want, plain(name))
	}
	check("void sbc::norm_kernel<float>(float*, float const*, int)", "norm_kernel<float>")
	check("sbc::resolve_kernel(sbc::StepView, int const*)", "resolve_kernel")
	check("void sbc::(anonymous namespace)::matmul_kernel<__nv_bfloat16, 4, (sbc::Kind)1>(float*, void (*)(int))", "matmul_kernel<bf16, 4, (Kind)1>")
	check("void attention_kernel<__half, unsigned int, (bool)1>(int)", "attention_kernel<f16, unsigned int, (bool)1>")
}

// write makes a folder as build.sh leaves it.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	return dir
}

const oneKernel = `ptxas info    : Compiling entry function '_ZN3sbc11norm_kernelIfEEvPfPKfi' for 'sm_80'
ptxas info    : Function properties for _ZN3sbc11norm_kernelIfEEvPfPKfi
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 128 bytes smem
`

func TestReadBuild(t *testing.T) {
	_, err := ReadBuild(t.TempDir())
	require.ErrorIs(t, err, ErrNotBuilt)

	const head = "13.0\n/usr/local/cuda\n80 90\n"
	_, err = ReadBuild(write(t, map[string]string{"build": "13.0\n"}))
	require.ErrorContains(t, err, "instead of three")
	_, err = ReadBuild(write(t, map[string]string{"build": head}))
	require.ErrorContains(t, err, "no kernel")
	_, err = ReadBuild(write(t, map[string]string{"build": head, "rows.log": oneKernel}))
	require.ErrorContains(t, err, "not in the PTX")

	requireFilter(t)
	b, err := ReadBuild(write(t, map[string]string{"build": head, "rows.log": oneKernel, "rows/rows.compute_80.ptx": ptx}))
	require.NoError(t, err)
	assert.Equal(t, []string{"sm_80", "sm_90"}, b.Archs)
	assert.Equal(t, []Kernel{{File: "rows.cu", Name: "norm_kernel<float>", Symbol: "_ZN3sbc11norm_kernelIfEEvPfPKfi", Arch: "sm_80",
		Threads: 256, Registers: 40, Shared: 128}}, b.Kernels)
	assert.Len(t, b.Entries, 2)
}
