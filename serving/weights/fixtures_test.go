package weights

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
)

// stored is a tensor of a safetensors fixture.
type stored struct {
	dtype string
	shape []int
	data  []byte
}

// writeSafetensors writes one file.
func writeSafetensors(t *testing.T, path string, tensors map[string]stored) {
	t.Helper()
	header, data := map[string]any{}, []byte{}
	for name, s := range tensors {
		header[name] = map[string]any{
			"dtype": s.dtype, "shape": s.shape, "data_offsets": []int{len(data), len(data) + len(s.data)},
		}
		data = append(data, s.data...)
	}
	b, err := json.Marshal(header)
	require.NoError(t, err)
	out := append(binary.LittleEndian.AppendUint64(nil, uint64(len(b))), b...)
	require.NoError(t, os.WriteFile(path, append(out, data...), 0o600))
}

// writeFile writes a file of a model folder.
func writeFile(t *testing.T, dir, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
}

// f32 are little-endian float32s.
func f32(x ...float32) []byte {
	var out []byte
	for _, v := range x {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return out
}

// count are the float32s first, first+1, …
func count(first, n int) []byte {
	var out []byte
	for i := range n {
		out = append(out, f32(float32(first+i))...)
	}
	return out
}

// floats reads a tensor's elements.
func floats(t testing.TB, x kernels.Tensor) []float32 {
	t.Helper()
	out := make([]float32, len(x.Data)/x.DType.Size())
	for i := range out {
		switch x.DType {
		case kernels.F32:
			out[i] = math.Float32frombits(binary.LittleEndian.Uint32(x.Data[4*i:]))
		case kernels.BF16:
			out[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(x.Data[2*i:])) << 16)
		default:
			t.Fatalf("%s is %s", x.Name, x.DType)
		}
	}
	return out
}

// bf16 rounds a tensor's elements to bfloat16, to nearest, ties to even.
func bf16(t testing.TB, x kernels.Tensor) []byte {
	if x.DType == kernels.BF16 {
		return x.Data
	}
	out := make([]byte, 0, len(x.Data)/2)
	for _, v := range floats(t, x) {
		b := math.Float32bits(v)
		out = binary.LittleEndian.AppendUint16(out, uint16((b+0x7fff+b>>16&1)>>16))
	}
	return out
}
