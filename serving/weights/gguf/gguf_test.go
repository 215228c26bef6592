package gguf

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/weights/gguf/gguftest"
	"servebench/testdata"
)

func TestDequantizeEqualsPython(t *testing.T) {
	f, err := Open("testdata/dequant.gguf")
	require.NoError(t, err)
	defer f.Close()
	want, err := os.ReadFile("testdata/dequant.f32")
	require.NoError(t, err)
	for _, tensor := range f.Tensors() {
		rows, cols := tensor.Rows()
		got := make([]byte, 4*rows*cols)
		require.NoError(t, tensor.Dequantize(got, 0, rows))
		require.GreaterOrEqual(t, len(want), len(got), tensor.Name)
		assert.True(t, bytes.Equal(want[:len(got)], got), "%s differs from what testdata/make_dequant.py wrote", tensor.Name)
		want = want[len(got):]
		last := make([]byte, 4*cols)
		require.NoError(t, tensor.Dequantize(last, rows-1, 1))
		assert.Equal(t, got[len(got)-len(last):], last, "%s: last row alone", tensor.Name)
	}
	assert.Empty(t, want, "values left over")
}

func TestHalf(t *testing.T) {
	// The 1,024 normal significands are covered by the golden file; here its special values.
	for bits, want := range map[uint16]float32{
		0x0000: 0, 0x3c00: 1, 0xc000: -2, 0x7bff: 65504, 0x0400: 1.0 / (1 << 14), 0x0001: 1.0 / (1 << 24),
		0x83ff: -1023.0 / (1 << 24), 0x7c00: float32(math.Inf(1)), 0xfc00: float32(math.Inf(-1)),
	} {
		assert.Equal(t, want, half(binary.LittleEndian.AppendUint16(nil, bits)), "%#x", bits)
	}
	assert.True(t, math.Signbit(float64(half([]byte{0, 0x80}))), "minus zero")
	assert.True(t, math.IsNaN(float64(half([]byte{1, 0x7e}))))
}

func TestMetadataFromPython(t *testing.T) {
	f, err := Open("testdata/dequant.gguf")
	require.NoError(t, err)
	defer f.Close()
	for key, want := range map[string]uint64{
		"test.uint8": 200, "test.uint16": 60000, "test.uint32": 4000000000, "test.uint64": 1<<63 + 1,
	} {
		got, err := f.Uint(key)
		require.NoError(t, err)
		assert.Equal(t, want, got, key)
	}
	for key, want := range map[string]int64{
		"test.uint8": 200, "test.int8": -100, "test.int16": -30000, "test.int32": -2000000000, "test.int64": -1 << 62,
	} {
		got, err := f.Int(key)
		require.NoError(t, err)
		assert.Equal(t, want, got, key)
	}
	for key, want := range map[string]float64{
		"test.float32": float64(float32(1e-5)), "test.float64": 1e-300, "test.int8": -100, "test.uint64": 1<<63 + 1,
	} {
		got, err := f.Float(key)
		require.NoError(t, err)
		assert.Equal(t, want, got, key)
	}
	s, err := f.String("test.ü")
	require.NoError(t, err)
	assert.Equal(t, "ü", s)
	yes, err := f.Bool("test.bool")
	require.NoError(t, err)
	assert.True(t, yes)
	strs, err := f.Strings("test.strings")
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "", "ü"}, strs)
	ints, err := f.Ints("test.ints")
	require.NoError(t, err)
	assert.Equal(t, []int64{3, -1, 2}, ints)
	floats, err := f.Floats("test.floats")
	require.NoError(t, err)
	assert.Equal(t, []float64{0.5, -1.5}, floats)
	assert.Equal(t, "general.architecture", f.Keys()[0])
}

func TestGetterErrorsNameKeyAndTypes(t *testing.T) {
	f, err := parse(gguftest.New().Set("s", "x").Set("u", uint8(1)).Set("neg", int16(-7)).Set("big", uint64(math.MaxUint64)).
		Set("bigs", []uint64{math.MaxUint64}).Set("strs", []string{"a", "b"}).Set("ints", []int32{1, 2, 3}).Bytes())
	require.NoError(t, err)
	errOf := func(_ any, err error) error { return err }
	for _, c := range []struct {
		err  error
		want string
	}{
		{errOf(f.String("gone")), "gone: key not in the GGUF metadata"},
		{errOf(f.Strings("gone")), "gone: key not in the GGUF metadata"},
		{errOf(f.String("u")), "u is of type uint8, want string"},
		{errOf(f.Bool("s")), "s is of type string, want bool"},
		{errOf(f.Uint("s")), "s is of type string, want integer"},
		{errOf(f.Uint("neg")), "neg is -7, want it not negative"},
		{errOf(f.Int("big")), "big is 18446744073709551615, too large for an int64"},
		{errOf(f.Float("ints")), "ints is of type array of 3 int32s, want number"},
		{errOf(f.Strings("u")), "u is of type uint8, want array of strings"},
		{errOf(f.Strings("ints")), "ints is an array of 3 int32s, want array of strings"},
		{errOf(f.Ints("strs")), "strs is an array of 2 strings, want array of integers"},
		{errOf(f.Ints("bigs")), "bigs: element 0 is 18446744073709551615, too large for an int64"},
		{errOf(f.Floats("strs")), "strs is an array of 2 strings, want array of numbers"},
	} {
		assert.EqualError(t, c.err, c.want)
	}
	assert.ErrorIs(t, errOf(f.Uint("gone")), ErrNoKey)
	require.NoError(t, f.Close())
	assert.False(t, f.Has("s"), "closed")
}

func TestNestedArraysAreWalkedOver(t *testing.T) {
	// [[1, 2], [3]] of uint8, then a value that must still be found.
	nested := concat(str("nested"), u32(9), u32(9), u64(2), u32(0), u64(2), []byte{1, 2}, u32(0), u64(1), []byte{3})
	f, err := parse(gguftest.New().Raw(nested).Set("after", "x").Bytes())
	require.NoError(t, err)
	s, err := f.String("after")
	require.NoError(t, err)
	assert.Equal(t, "x", s)
	_, err = f.Ints("nested")
	assert.EqualError(t, err, "nested is an array of 2 arrays, want array of integers")
}

func TestTensors(t *testing.T) {
	data := bytes.Repeat([]byte{1, 2, 3, 4}, 6)
	f, err := Open(gguftest.New().Tensor("a", 0, []int{2, 3}, data).Tensor("scalar", 0, nil, data[:4]).
		Tensor("k", 12, []int{1, 256}, make([]byte, 144)).Write(t))
	require.NoError(t, err)
	defer f.Close()
	a, ok := f.Tensor("a")
	require.True(t, ok)
	assert.Equal(t, []int{2, 3}, a.Shape)
	assert.Equal(t, data, a.Data())
	s, _ := f.Tensor("scalar")
	rows, cols := s.Rows()
	assert.Equal(t, []int{1, 1}, []int{rows, cols})
	_, ok = f.Tensor("b")
	assert.False(t, ok)
	k, _ := f.Tensor("k")
	err = k.Dequantize(make([]byte, 4*256), 0, 1)
	assert.ErrorIs(t, err, ErrType)
	assert.ErrorContains(t, err, `tensor "k" is Q4_K`)
	assert.Panics(t, func() { _ = a.Dequantize(make([]byte, 3), 0, 1) })
	assert.Panics(t, func() { _ = a.Dequantize(make([]byte, 12), 2, 1) })
}

func u32(v uint32) []byte           { return binary.LittleEndian.AppendUint32(nil, v) }
func u64(v uint64) []byte           { return binary.LittleEndian.AppendUint64(nil, v) }
func str(s string) []byte           { return append(u64(uint64(len(s))), s...) }
func concat(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// lies are files that are not what they say, with what the error must tell.
func lies() map[string][]byte {
	const huge = 1 << 60
	four, header := make([]byte, 4), func(version uint32, tensors, values uint64) []byte {
		return concat([]byte("GGUF"), u32(version), u64(tensors), u64(values))
	}
	b := gguftest.New
	deep := concat(str("deep"), u32(9))
	for range 40 {
		deep = concat(deep, u32(9), u64(1))
	}
	return map[string][]byte{
		"starts with":                                                 concat([]byte("GGML"), make([]byte, 20)),
		"version 1;":                                                  header(1, 0, 0),
		"version 4;":                                                  header(4, 0, 0),
		"big-endian":                                                  header(3<<24, 0, 0),
		"tensor count 1152921504606846976":                            concat(header(3, huge, 0), four),
		"metadata count 18446744073709551":                            concat(header(3, 0, math.MaxUint64), four),
		"metadata count 1 cannot fit":                                 header(3, 0, 1),
		"length of metadata key 0 1152921":                            concat(header(3, 0, 1), u64(huge), make([]byte, 20)),
		`"twice" is there twice`:                                      b().Set("twice", "a").Set("twice", "b").Bytes(),
		`"x" has a value of unknown type 13`:                          b().Raw(concat(str("x"), u32(13), u64(0))).Bytes(),
		`"x" has an array of unknown type`:                            b().Raw(concat(str("x"), u32(9), u32(77), u64(0))).Bytes(),
		"array length of metadata key ints":                           b().Raw(concat(str("ints"), u32(9), u32(5), u64(huge))).Bytes(),
		"array length of metadata key strs":                           b().Raw(concat(str("strs"), u32(9), u32(8), u64(huge))).Bytes(),
		"length of a string of metadata":                              b().Raw(concat(str("strs"), u32(9), u32(8), u64(1), u64(huge))).Bytes(),
		"array length of metadata key arrs":                           b().Raw(concat(str("arrs"), u32(9), u32(9), u64(huge))).Bytes(),
		"nested more than 8 deep":                                     b().Raw(deep).Bytes(),
		"general.alignment is 24":                                     b().Set("general.alignment", uint32(24)).Bytes(),
		"general.alignment is 0":                                      b().Set("general.alignment", uint32(0)).Bytes(),
		"general.alignment is of type string":                         b().Set("general.alignment", "32").Bytes(),
		`tensor "t" has 5 dimensions`:                                 b().Tensor("t", 0, []int{1, 1, 1, 1, 1}, four).Bytes(),
		`tensor "t" has 0 elements in dim`:                            b().Tensor("t", 0, []int{1, 0}, four).Bytes(),
		`tensor "t" has 1152921504606846976`:                          b().Tensor("t", 0, []int{1, huge}, four).Bytes(),
		`tensor "t" of shape`:                                         b().Tensor("t", 0, []int{1 << 40, 1 << 40}, four).Bytes(),
		`tensor "t" has the unknown type 99`:                          b().Tensor("t", 99, []int{1}, four).Bytes(),
		`tensor "t" has rows of 33 elements`:                          b().Tensor("t", 2, []int{1, 33}, make([]byte, 36)).Bytes(),
		`tensor "t" needs 1099511627776`:                              b().Tensor("t", 0, []int{1 << 38}, four).Bytes(),
		`tensor "u" needs 4 bytes from offset 1152921504606846976`:    b().Tensor("u", 0, []int{1}, four).Offset(huge).Bytes(),
		`tensor "w" needs 128 bytes from offset 18446744073709551584`: b().Tensor("w", 0, []int{32}, four).Offset(math.MaxUint64 - 31).Bytes(),
		`tensor "m" starts at offset 4, which is no multiple of the alignment 32`: b().Tensor("m", 0, []int{1}, make([]byte, 64)).Offset(4).Bytes(),
		`tensor "d" is there twice`:   b().Tensor("d", 0, []int{1}, four).Tensor("d", 0, []int{1}, four).Bytes(),
		`tensors "a" and "b" overlap`: b().Tensor("a", 0, []int{16}, make([]byte, 64)).Tensor("b", 0, []int{1}, four).Offset(32).Bytes(),
		`tensors "p" and "q" overlap`: b().Tensor("p", 0, []int{1}, four).Tensor("q", 0, []int{1}, four).Offset(0).Bytes(),
		"the name of tensor 0":        concat(header(3, 1, 0), u64(huge), make([]byte, 20)),
	}
}

func TestOpenRefusesFilesThatLie(t *testing.T) {
	for want, data := range lies() {
		path := filepath.Join(t.TempDir(), "lie.gguf")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := Open(path)
		runtime.ReadMemStats(&after)
		require.ErrorIs(t, err, ErrFormat, want)
		assert.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, path)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(1<<20), "bytes allocated for %s", want)
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	_, err := Open(dir)
	assert.ErrorIs(t, err, ErrFormat)
	_, err = Open(filepath.Join(dir, "gone.gguf"))
	assert.ErrorIs(t, err, os.ErrNotExist)
	empty := filepath.Join(dir, "empty.gguf")
	require.NoError(t, os.WriteFile(empty, nil, 0o600))
	_, err = Open(empty)
	assert.ErrorContains(t, err, "4 bytes wanted, the file has 0 left")
}

func TestEveryTruncationIsRefused(t *testing.T) {
	whole, err := os.ReadFile("testdata/dequant.gguf")
	require.NoError(t, err)
	f, err := parse(whole)
	require.NoError(t, err)
	last := f.Tensors()[len(f.Tensors())-1]
	end := bytes.LastIndex(whole, last.raw) + len(last.raw) // the writer pads the last tensor too
	for n := range end {
		_, err := parse(whole[:n])
		require.ErrorIs(t, err, ErrFormat, "%d of %d bytes", n, end)
	}
}

func TestVersion2AndAlignment(t *testing.T) {
	b := gguftest.New().Set("general.alignment", uint32(64)).Tensor("a", 0, []int{1}, make([]byte, 4)).Tensor("b", 0, []int{1}, []byte{1, 2, 3, 4})
	b.Version, b.Align = 2, 64
	f, err := parse(b.Bytes())
	require.NoError(t, err)
	tensor, _ := f.Tensor("b")
	assert.Equal(t, []byte{1, 2, 3, 4}, tensor.Data())
	assert.EqualValues(t, 2, f.Version)
}

func TestRealFile(t *testing.T) {
	f, err := Open(testdata.Peers(t, "models", "smollm2-q4_1.gguf"))
	require.NoError(t, err)
	defer f.Close()
	assert.Len(t, f.Tensors(), 272)
	tokens, err := f.Strings("tokenizer.ggml.tokens")
	require.NoError(t, err)
	assert.Len(t, tokens, 49152)
	assert.Equal(t, "<|im_end|>", tokens[2])
	arch, err := f.String("general.architecture")
	require.NoError(t, err)
	assert.Equal(t, "llama", arch)
}

// FuzzParse asserts that no bytes make the package panic, and that a file that
// is accepted can be read in every part.
func FuzzParse(f *testing.F) {
	whole, err := os.ReadFile("testdata/dequant.gguf")
	require.NoError(f, err)
	f.Add(whole)
	for _, data := range lies() {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parse(data)
		if err != nil {
			require.ErrorIs(t, err, ErrFormat)
			return
		}
		for _, key := range file.Keys() {
			_, _ = file.String(key)
			_, _ = file.Bool(key)
			_, _ = file.Uint(key)
			_, _ = file.Int(key)
			_, _ = file.Float(key)
			_, _ = file.Ints(key)
			_, _ = file.Floats(key)
			if _, err := file.Strings(key); err != nil {
				require.NotErrorIs(t, err, ErrFormat, "strings were walked over already")
			}
		}
		for _, tensor := range file.Tensors() {
			rows, cols := tensor.Rows()
			if err := tensor.Dequantize(make([]byte, 4*rows*cols), 0, rows); err != nil {
				require.ErrorIs(t, err, ErrType)
			}
		}
	})
}

func BenchmarkDequantize(b *testing.B) {
	for _, typ := range []Type{F16, BF16, Q8_0, Q4_0, Q4_1} {
		b.Run("type="+typ.String(), func(b *testing.B) {
			const rows, cols = 1024, 1024
			l := layouts[typ]
			f, err := parse(gguftest.New().Tensor("t", uint32(typ), []int{rows, cols}, make([]byte, rows*cols/l.elements*l.bytes)).Bytes())
			require.NoError(b, err)
			dst := make([]byte, 4*rows*cols)
			b.SetBytes(int64(len(dst)))
			for b.Loop() {
				_ = f.Tensors()[0].Dequantize(dst, 0, rows)
			}
		})
	}
}
