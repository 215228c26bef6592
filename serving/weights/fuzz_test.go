package weights

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/serving/weights/gguf/gguftest"
)

// FuzzOpenGGUF asserts that whatever a file's metadata says, opening it ends
// with an error or with a checkpoint whose configuration is JSON and whose
// tensors have the bytes of their shapes.
func FuzzOpenGGUF(f *testing.F) {
	f.Add(llamaMeta().Tensor("token_embd.weight", 0, []int{5, 8}, count(0, 40)).Tensor("blk.0.attn_q.weight", 0, []int{8, 2}, count(0, 16)).Bytes())
	f.Add(gguftest.New().Set("general.architecture", "phi2").Set("phi2.block_count", uint32(1)).Set("phi2.context_length", uint32(4)).
		Set("phi2.embedding_length", uint32(4)).Set("phi2.feed_forward_length", uint32(4)).Set("phi2.attention.head_count", uint32(2)).
		Set("phi2.rope.dimension_count", uint32(1)).Set("phi2.attention.layer_norm_epsilon", float32(1e-5)).Set("phi2.vocab_size", uint32(3)).
		Tensor("blk.0.attn_qkv.weight", 0, []int{12, 1}, count(0, 12)).Tensor("blk.0.attn_qkv.bias", 8, []int{32}, make([]byte, 34)).Bytes())
	f.Add(llamaMeta().Set("llama.vocab_size", uint32(5)).Tensor("rope_freqs.weight", 0, []int{2}, f32(8, 1)).Bytes())
	f.Add(llamaMeta().Set("llama.rope.freq_base", float32(0)).Tensor("rope_freqs.weight", 0, []int{2}, f32(2, 2)).Bytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "f.gguf")
		require.NoError(t, os.WriteFile(path, data, 0o600))
		c, err := openGGUF(path)
		if err != nil {
			return
		}
		defer c.Close()
		require.True(t, json.Valid(c.Config()))
		g := c.(*ggufCheckpoint)
		for name, from := range g.names {
			stored, ok := g.file.Tensor(from.tensor)
			require.True(t, ok)
			shape := append([]int(nil), stored.Shape...)
			switch how := g.restoring(from); {
			case how.transpose && len(shape) == 2:
				shape[0], shape[1] = shape[1], shape[0]
			case from.rows.n > 0 && len(shape) > 0:
				shape[0] = from.rows.n
			}
			x, err := c.Tensor(name, shape...)
			if err != nil {
				continue
			}
			n := x.DType.Size()
			for _, s := range shape {
				n *= s
			}
			require.Len(t, x.Data, n, name)
			g.Recycle(x.Data)
		}
	})
}
