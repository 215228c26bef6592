package safetensors

import (
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// file puts a header and data bytes together.
func file(header string, data int) []byte {
	out := append(binary.LittleEndian.AppendUint64(nil, uint64(len(header))), header...)
	for i := range data {
		out = append(out, byte(i))
	}
	return out
}

const sound = `{"__metadata__":{"format":"pt"},
"b":{"dtype":"BF16","shape":[2,2],"data_offsets":[8,16]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},
"s":{"dtype":"F16","shape":[],"data_offsets":[16,18]},"q":{"dtype":"F4","shape":[4],"data_offsets":[18,20]},
"none":{"dtype":"I64","shape":[0,3],"data_offsets":[20,20]}}   `

func TestOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.safetensors")
	require.NoError(t, os.WriteFile(path, file(sound, 20), 0o600))
	f, err := Open(path)
	require.NoError(t, err)
	var names []string
	for _, tensor := range f.Tensors() {
		names = append(names, tensor.Name)
	}
	assert.Equal(t, []string{"a", "b", "s", "q", "none"}, names)
	b, ok := f.Tensor("b")
	require.True(t, ok)
	assert.Equal(t, "BF16", b.DType)
	assert.Equal(t, []int{2, 2}, b.Shape)
	assert.Equal(t, []byte{8, 9, 10, 11, 12, 13, 14, 15}, b.Data())
	_, ok = f.Tensor("c")
	assert.False(t, ok)
	require.NoError(t, f.Close())
	assert.Empty(t, f.Tensors(), "closed")
	require.NoError(t, f.Close(), "closed twice")
}

// lies are files that are not what they say, with what the error must tell.
func lies() map[string][]byte {
	one := func(name, dtype, shape, offsets string) string {
		return `"` + name + `":{"dtype":"` + dtype + `","shape":` + shape + `,"data_offsets":` + offsets + `}`
	}
	obj := func(entries ...string) string { return "{" + strings.Join(entries, ",") + "}" }
	huge := binary.LittleEndian.AppendUint64(nil, 1<<60)
	most := binary.LittleEndian.AppendUint64(nil, math.MaxUint64)
	return map[string][]byte{
		"3 bytes do not hold":                     {1, 0, 0},
		"length is given as 1152921504606846976":  append(huge, "{}"...),
		"length is given as 18446744073709551615": append(most, "{}"...),
		"unexpected EOF":                          file(`{"a":{"dtype":"F32"`, 0),
		"header: invalid character":               file(`{x`, 0),
		"no JSON object":                          file(`[]`, 0),
		"goes on after":                           file(`{}{}`, 0),
		"__metadata__":                            file(`{"__metadata__":{"a":1}}`, 0),
		`"t" is there twice`:                      file(obj(one("t", "U8", "[1]", "[0,1]"), one("t", "U8", "[1]", "[0,1]")), 1),
		`"nodtype" needs`:                         file(`{"nodtype":{"shape":[1],"data_offsets":[0,1]}}`, 1),
		`"noshape" needs`:                         file(`{"noshape":{"dtype":"U8","data_offsets":[0,1]}}`, 1),
		`"null" needs`:                            file(`{"null":null}`, 1),
		`"three" needs`:                           file(obj(one("three", "U8", "[1]", "[0,1,2]")), 1),
		`tensor "neg"`:                            file(obj(one("neg", "U8", "[-1]", "[0,1]")), 1),
		`tensor "frac"`:                           file(obj(one("frac", "U8", "[1.5]", "[0,1]")), 1),
		`tensor "text"`:                           file(obj(one("text", "U8", `"1"`, "[0,1]")), 1),
		`"back" ends at 0, before`:                file(obj(one("back", "U8", "[1]", "[1,0]")), 1),
		`"big" of shape`:                          file(obj(one("big", "F32", "[4294967296,4294967296,4294967296]", "[0,0]")), 0),
		`"zero" of shape`:                         file(obj(one("zero", "F32", "[0,18446744073709551615]", "[0,0]")), 0),
		`"small" of dtype F32 and shape [3] needs 12 bytes, its data_offsets [0 8] give it 8`: file(obj(one("small", "F32", "[3]", "[0,8]")), 8),
		`"past" ends at 1152921504606846976`:                                                  file(obj(one("past", "X1", "[1]", "[0,1152921504606846976]")), 8),
		`"cut" ends at 8, but the file has only 7`:                                            file(obj(one("cut", "F32", "[2]", "[0,8]")), 7),
		`"v", from 4, overlaps tensor "u", which ends at 8`:                                   file(obj(one("u", "F32", "[2]", "[0,8]"), one("v", "F32", "[2]", "[4,12]")), 12),
		`"y", from 0, overlaps tensor "x"`:                                                    file(obj(one("x", "F32", "[2]", "[0,8]"), one("y", "F32", "[2]", "[0,8]")), 8),
		`hole of 4 bytes between tensor "u" and tensor "w"`:                                   file(obj(one("u", "F32", "[1]", "[0,4]"), one("w", "F32", "[1]", "[8,12]")), 12),
		`hole of 4 bytes between the start and tensor "w"`:                                    file(obj(one("w", "F32", "[1]", "[4,8]")), 8),
		`3 bytes after tensor "u" belong to no tensor`:                                        file(obj(one("u", "F32", "[1]", "[0,4]")), 7),
		"5 bytes after the start belong to no tensor":                                         file("{}", 5),
	}
}

func TestOpenRefusesFilesThatLie(t *testing.T) {
	for want, data := range lies() {
		path := filepath.Join(t.TempDir(), "lie.safetensors")
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

func TestEveryTruncationIsRefused(t *testing.T) {
	whole := file(sound, 20)
	for n := range whole {
		_, err := parse(whole[:n])
		require.ErrorIs(t, err, ErrFormat, "%d of %d bytes", n, len(whole))
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	_, err := Open(t.TempDir())
	assert.ErrorIs(t, err, ErrFormat)
	_, err = Open(filepath.Join(t.TempDir(), "gone"))
	assert.ErrorIs(t, err, os.ErrNotExist)
}

func TestRealFile(t *testing.T) {
	f, err := Open(testdata.Peers(t, "models", "gpt2", "model.safetensors"))
	require.NoError(t, err)
	defer f.Close()
	assert.Len(t, f.Tensors(), 148)
	wte, ok := f.Tensor("transformer.wte.weight")
	require.True(t, ok)
	assert.Equal(t, []int{50257, 768}, wte.Shape)
}

// FuzzParse asserts that no bytes make the package panic, and that the tensors
// of a file that is accepted cover its data once.
func FuzzParse(f *testing.F) {
	f.Add(file(sound, 20))
	for _, data := range lies() {
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := parse(data)
		if err != nil {
			require.ErrorIs(t, err, ErrFormat)
			return
		}
		total := 0
		for _, tensor := range file.Tensors() {
			total += len(tensor.Data())
		}
		header := binary.LittleEndian.Uint64(data)
		require.EqualValues(t, uint64(len(data))-8-header, total)
	})
}
