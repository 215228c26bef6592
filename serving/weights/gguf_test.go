package weights

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/serving/weights/gguf"
	"servebench/serving/weights/gguf/gguftest"
	"servebench/testdata"
)

// llamaMeta is the metadata of a Llama with 2 query heads of width 4 and 1 key head.
func llamaMeta() *gguftest.Builder {
	return gguftest.New().Set("general.architecture", "llama").
		Set("llama.block_count", uint32(1)).Set("llama.context_length", uint32(64)).
		Set("llama.embedding_length", uint32(8)).Set("llama.feed_forward_length", uint32(16)).
		Set("llama.attention.head_count", uint32(2)).Set("llama.attention.head_count_kv", uint32(1)).
		Set("llama.attention.layer_norm_rms_epsilon", float32(1e-5))
}

func openBuilt(t *testing.T, b *gguftest.Builder) Checkpoint {
	t.Helper()
	c, err := Open(t.Context(), b.Write(t), Options{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, c.Close()) })
	return c
}

func TestGGUFConfig(t *testing.T) {
	embedding := func(b *gguftest.Builder) *gguftest.Builder {
		return b.Tensor("token_embd.weight", 0, []int{5, 8}, count(0, 40))
	}
	base := `"model_type":"llama","architectures":["LlamaForCausalLM"],"hidden_act":"silu","hidden_size":8,
		"intermediate_size":16,"num_hidden_layers":1,"num_attention_heads":2,"max_position_embeddings":64,
		"rms_norm_eps":1e-5,"vocab_size":5,"attention_bias":false,"mlp_bias":false,`
	plain := base + `"num_key_value_heads":1,"head_dim":4,"rope_theta":10000,"tie_word_embeddings":true`
	for name, c := range map[string]struct {
		file *gguftest.Builder
		want string
	}{
		"plain": {embedding(llamaMeta()), `{` + plain + `}`},
		"all": {embedding(llamaMeta().Set("llama.rope.freq_base", float32(500000)).Set("llama.attention.key_length", uint32(6)).
			Set("llama.rope.dimension_count", uint32(6)).Set("llama.rope.scaling.type", "linear").Set("llama.rope.scaling.factor", float32(2)).
			Set("llama.rope.scaling.original_context_length", uint32(32)).
			Set("tokenizer.ggml.bos_token_id", uint32(1)).Set("tokenizer.ggml.eos_token_id", uint32(2)).
			Tensor("output.weight", 0, []int{5, 8}, count(0, 40)).Tensor("blk.0.attn_q.bias", 0, []int{12}, count(0, 12)).
			Tensor("blk.0.ffn_up.bias", 0, []int{16}, count(0, 16))),
			`{` + strings.NewReplacer(`"attention_bias":false`, `"attention_bias":true`, `"mlp_bias":false`, `"mlp_bias":true`).Replace(base) +
				`"num_key_value_heads":1,"head_dim":6,"rope_theta":500000,"tie_word_embeddings":false,"bos_token_id":1,"eos_token_id":2,
				"rope_scaling":{"rope_type":"linear","factor":2,"original_max_position_embeddings":32}}`},
		"old scaling": {embedding(llamaMeta().Set("llama.rope.scale_linear", float32(4))), `{` + plain + `,"rope_scaling":{"rope_type":"linear","factor":4}}`},
		"no scaling":  {embedding(llamaMeta().Set("llama.rope.scale_linear", float32(1)).Set("llama.rope.scaling.type", "none")), `{` + plain + `}`},
		"llama 3.1":   {embedding(llamaMeta().Set("llama.rope.freq_base", float32(10000)).Tensor("rope_freqs.weight", 0, []int{2}, f32(1, 1))), `{` + plain + `}`},
		"qwen2": {embedding(gguftest.New().Set("general.architecture", "qwen2").
			Set("qwen2.block_count", uint32(1)).Set("qwen2.context_length", uint32(64)).
			Set("qwen2.embedding_length", uint32(8)).Set("qwen2.feed_forward_length", uint32(16)).
			Set("qwen2.attention.head_count", uint32(2)).Set("qwen2.attention.head_count_kv", uint32(1)).
			Set("qwen2.attention.layer_norm_rms_epsilon", float32(1e-5))),
			strings.NewReplacer("Llama", "Qwen2", `"llama"`, `"qwen2"`, `"attention_bias":false,"mlp_bias":false,`, "").Replace(`{` + plain + `}`)},
		"phi": {embedding(gguftest.New().Set("general.architecture", "phi2").
			Set("phi2.block_count", uint32(1)).Set("phi2.context_length", uint32(64)).
			Set("phi2.embedding_length", uint32(160)).Set("phi2.feed_forward_length", uint32(16)).
			Set("phi2.attention.head_count", uint32(2)).Set("phi2.attention.head_count_kv", uint32(2)).
			Set("phi2.rope.dimension_count", uint32(32)).Set("phi2.attention.layer_norm_epsilon", float32(1e-5))),
			`{"model_type":"phi","architectures":["PhiForCausalLM"],"hidden_act":"gelu_new","hidden_size":160,"intermediate_size":16,
			"num_hidden_layers":1,"num_attention_heads":2,"num_key_value_heads":2,"max_position_embeddings":64,"layer_norm_eps":1e-5,
			"vocab_size":5,"partial_rotary_factor":0.4,"rope_theta":10000,"tie_word_embeddings":true}`},
		"mistral": {embedding(llamaMeta().Set("llama.attention.sliding_window", uint32(32))), `{` + strings.NewReplacer("Llama", "Mistral", `"llama"`, `"mistral"`).Replace(plain) + `,"sliding_window":32}`},
		"mixtral": {embedding(llamaMeta().Set("llama.expert_count", uint32(8))), `{` + strings.NewReplacer("Llama", "Mixtral", `"llama"`, `"mixtral"`).Replace(plain) + `}`},
		"unknown": {gguftest.New().Set("general.architecture", "mamba"), `{"model_type":"mamba"}`},
		"gpt2": {gguftest.New().Set("general.architecture", "gpt2").Set("gpt2.block_count", uint32(3)).Set("gpt2.context_length", uint64(64)).
			Set("gpt2.embedding_length", uint32(8)).Set("gpt2.feed_forward_length", uint32(32)).Set("gpt2.attention.head_count", uint32(2)).
			Set("gpt2.attention.layer_norm_epsilon", float32(1e-5)).Set("gpt2.vocab_size", uint32(7)),
			`{"model_type":"gpt2","architectures":["GPT2LMHeadModel"],"activation_function":"gelu_new","n_positions":64,"n_embd":8,"n_layer":3,
			"n_head":2,"n_inner":32,"layer_norm_epsilon":1e-5,"vocab_size":7,"tie_word_embeddings":true}`},
	} {
		t.Run(name, func(t *testing.T) {
			assert.JSONEq(t, c.want, string(openBuilt(t, c.file).Config()))
		})
	}
}

func TestGGUFFilesThatAreRefused(t *testing.T) {
	for want, b := range map[string]*gguftest.Builder{
		"general.architecture: key not in":         gguftest.New(),
		"general.architecture is of type uint8":    gguftest.New().Set("general.architecture", uint8(1)),
		"gpt2.block_count: key not in":             gguftest.New().Set("general.architecture", "gpt2"),
		"gpt2.vocab_size: key not in":              gguftest.New().Set("general.architecture", "gpt2"),
		"gpt2.block_count is 0":                    gguftest.New().Set("general.architecture", "gpt2").Set("gpt2.block_count", uint32(0)),
		"gpt2.block_count is 18446744073709551615": gguftest.New().Set("general.architecture", "gpt2").Set("gpt2.block_count", ^uint64(0)),
		"llama.attention.head_count is of type array of 2 int32s": gguftest.New().Set("general.architecture", "llama").
			Set("llama.attention.head_count", []int32{2, 3}),
		"llama.rope.dimension_count 2 differs from the head width 4": llamaMeta().Set("llama.vocab_size", uint32(5)).Set("llama.rope.dimension_count", uint32(2)),
		`tensor "blk.0.attn_q_norm.weight" is not known in the architecture llama`: llamaMeta().
			Set("llama.vocab_size", uint32(5)).Tensor("blk.0.attn_q_norm.weight", 0, []int{4}, count(0, 4)),
		"llama.attention.value_length 2 differs":    llamaMeta().Set("llama.vocab_size", uint32(5)).Set("llama.attention.value_length", uint32(2)),
		"llama.rope.scaling.attn_factor 1.5 has no": llamaMeta().Set("llama.vocab_size", uint32(5)).Set("llama.rope.scaling.attn_factor", float32(1.5)),
		"yarn_log_multiplier 0.5: not supported":    llamaMeta().Set("llama.vocab_size", uint32(5)).Set("llama.rope.scaling.yarn_log_multiplier", float32(0.5)),
		"are not those of Llama 3.1's rope scaling": llamaMeta().Set("llama.vocab_size", uint32(5)).Tensor("rope_freqs.weight", 0, []int{2}, f32(8, 1)),
		"F32 of shape [3], want F32 of [2]":         llamaMeta().Set("llama.vocab_size", uint32(5)).Tensor("rope_freqs.weight", 0, []int{3}, f32(1, 1, 1)),
		"phi2.rope.dimension_count is 9 of":         gguftest.New().Set("general.architecture", "phi2").Set("phi2.rope.dimension_count", uint32(9)),
		"one of 3 parts":                            llamaMeta().Set("split.count", uint16(3)),
	} {
		path := b.Write(t)
		_, err := Open(t.Context(), path, Options{})
		require.ErrorContains(t, err, want)
		assert.ErrorContains(t, err, path)
	}
}

// TestGGUFRowsOfHeads checks Llama's row order in every element type.
// gguf row 2i+j of a head is Transformers' row j·E/2 + i.
func TestGGUFRowsOfHeads(t *testing.T) {
	// Head width 4: rows 0 1 2 3 of a head are stored as 0 2 1 3.
	b := llamaMeta().Set("llama.vocab_size", uint32(5)).
		Tensor("blk.0.attn_q.weight", 0, []int{8, 2}, f32(0, 0, 2, 2, 1, 1, 3, 3, 4, 4, 6, 6, 5, 5, 7, 7)).
		Tensor("blk.0.attn_k.weight", 30, []int{4, 1}, []byte{0, 0, 0, 0x40, 0x80, 0x3f, 0x40, 0x40}).
		Tensor("blk.0.attn_k.bias", 0, []int{4}, f32(0, 2, 1, 3)).
		Tensor("blk.0.attn_v.weight", 0, []int{4, 1}, f32(0, 1, 2, 3))
	c := openBuilt(t, b)
	for name, want := range map[string]struct {
		shape []int
		data  []float32
	}{
		"q_proj.weight": {[]int{8, 2}, []float32{0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7}},
		"k_proj.weight": {[]int{4, 1}, []float32{0, 1, 2, 3}},
		"k_proj.bias":   {[]int{4}, []float32{0, 1, 2, 3}},
		"v_proj.weight": {[]int{4, 1}, []float32{0, 1, 2, 3}},
	} {
		x, err := c.Tensor("model.layers.0.self_attn."+name, want.shape...)
		require.NoError(t, err)
		assert.Equal(t, want.data, floats(t, x), name)
	}
}

func TestGGUFQuantisedRowsOfHeads(t *testing.T) {
	// Q8_0 blocks of 32 ones scaled by 0, 2, 1, 3: one block is one row.
	var data []byte
	for _, d := range []uint16{0, 0x4000, 0x3c00, 0x4200} {
		data = binary.LittleEndian.AppendUint16(data, d)
		for range 32 {
			data = append(data, 1)
		}
	}
	c := openBuilt(t, llamaMeta().Set("llama.vocab_size", uint32(5)).Tensor("blk.0.attn_k.weight", 8, []int{4, 32}, data))
	x, err := c.Tensor("model.layers.0.self_attn.k_proj.weight", 4, 32)
	require.NoError(t, err)
	assert.Equal(t, kernels.F32, x.DType)
	for i, v := range floats(t, x) {
		require.Equal(t, float32(i/32), v, "element %d", i)
	}
}

// TestGGUFFusedRows: of one tensor of queries, keys and values each gets its rows.
func TestGGUFFusedRows(t *testing.T) {
	meta := func() *gguftest.Builder {
		return gguftest.New().Set("general.architecture", "phi2").Set("phi2.block_count", uint32(1)).Set("phi2.context_length", uint32(4)).
			Set("phi2.embedding_length", uint32(4)).Set("phi2.feed_forward_length", uint32(4)).Set("phi2.attention.head_count", uint32(2)).
			Set("phi2.attention.head_count_kv", uint32(1)).Set("phi2.attention.layer_norm_epsilon", float32(1e-5)).Set("phi2.vocab_size", uint32(3))
	}
	var quantised []byte // Q8_0: eight rows of one block, each of ones scaled by 1
	for range 8 {
		quantised = append(binary.LittleEndian.AppendUint16(quantised, 0x3c00), bytes.Repeat([]byte{1}, 32)...)
	}
	const p = "model.layers.0.self_attn."
	c := openBuilt(t, meta().Tensor("blk.0.attn_qkv.weight", 0, []int{8, 1}, count(0, 8)).Tensor("blk.0.attn_qkv.bias", 0, []int{8}, count(0, 8)))
	for name, want := range map[string][]float32{"q_proj": {0, 1, 2, 3}, "k_proj": {4, 5}, "v_proj": {6, 7}} {
		w, err := c.Tensor(p+name+".weight", len(want), 1)
		require.NoError(t, err)
		assert.Equal(t, want, floats(t, w), name)
		b, err := c.Tensor(p+name+".bias", len(want))
		require.NoError(t, err)
		assert.Equal(t, want, floats(t, b), name)
	}
	c = openBuilt(t, meta().Tensor("blk.0.attn_qkv.weight", 8, []int{8, 32}, quantised).Tensor("blk.0.attn_qkv.bias", 8, []int{32}, quantised[:34]))
	w, err := c.Tensor(p+"v_proj.weight", 2, 32)
	require.NoError(t, err)
	assert.Len(t, floats(t, w), 64)
	b, err := c.Tensor(p+"v_proj.bias", 2)
	require.NoError(t, err)
	assert.Equal(t, []float32{1, 1}, floats(t, b))
	c = openBuilt(t, meta().Tensor("blk.0.attn_qkv.weight", 0, []int{6, 1}, count(0, 6)).Tensor("blk.0.attn_qkv.bias", 0, nil, count(0, 1)))
	_, err = c.Tensor(p+"v_proj.weight", 2, 1)
	assert.ErrorContains(t, err, "is rows 6 to 8 of blk.0.attn_qkv.weight, which has shape [6 1]")
	_, err = c.Tensor(p+"v_proj.bias", 2)
	assert.ErrorContains(t, err, "which has shape []")
}

// TestLlama3Parameters: they come back from the factors that they result in, or
// there is an error.
func TestLlama3Parameters(t *testing.T) {
	factors := func(p llama3Scaling, dims int, theta float64) []float32 {
		var out []float32
		for i := 0; i < dims; i += 2 {
			// As llama.cpp's converter: frequencies in float32, then in float64.
			wave := 2 * math.Pi / float64(1/float32(math.Pow(theta, float64(i)/float64(dims))))
			switch {
			case wave < p.original/p.high:
				out = append(out, 1)
			case wave > p.original/p.low:
				out = append(out, float32(p.factor))
			default:
				smooth := (p.original/wave - p.low) / (p.high - p.low)
				out = append(out, float32(1/((1-smooth)/p.factor+smooth)))
			}
		}
		return out
	}
	find := func(x []float32, dims int, theta float64) (config, error) {
		f, err := gguf.Open(gguftest.New().Tensor("rope_freqs.weight", 0, []int{len(x)}, f32(x...)).Write(t))
		require.NoError(t, err)
		defer f.Close()
		return llama3(f.Tensors()[0], dims, theta)
	}
	for name, c := range map[string]struct {
		llama3Scaling
		dims  int
		theta float64
	}{
		"Llama 3.1":        {llama3Scaling{8, 1, 4, 8192}, 128, 500000},
		"Llama 3.2 1B":     {llama3Scaling{32, 1, 4, 8192}, 64, 500000},
		"a small context":  {llama3Scaling{8, 1, 4, 64}, 64, 10000},
		"another division": {llama3Scaling{2.5, 1, 2.25, 1000}, 128, 50000},
	} {
		x := factors(c.llama3Scaling, c.dims, c.theta)
		got, err := find(x, c.dims, c.theta)
		require.NoError(t, err, name)
		assert.Equal(t, config{"rope_type": "llama3", "factor": c.factor, "low_freq_factor": c.low, "high_freq_factor": c.high,
			"original_max_position_embeddings": int(c.original)}, got, name)
		for _, i := range []int{0, len(x) / 2, len(x) - 1} {
			wrong := slices.Clone(x)
			wrong[i] *= 1.001
			_, err = find(wrong, c.dims, c.theta)
			assert.ErrorContains(t, err, "are not those of", "%s, factor %d", name, i)
		}
	}
	for _, x := range [][]float32{{float32(math.NaN()), 1}, {1, float32(math.NaN())}, {0, 0}, {-8, 1}, {float32(math.Inf(1)), 1}, {2, 3}} {
		_, err := find(x, 4, 10000)
		assert.Error(t, err, "%v", x)
	}
}

func TestGGUFTransposes(t *testing.T) {
	meta := func() *gguftest.Builder {
		return gguftest.New().Set("general.architecture", "gpt2").Set("gpt2.block_count", uint32(1)).Set("gpt2.context_length", uint32(4)).
			Set("gpt2.embedding_length", uint32(2)).Set("gpt2.attention.head_count", uint32(1)).
			Set("gpt2.attention.layer_norm_epsilon", float32(1e-5)).Set("gpt2.vocab_size", uint32(3))
	}
	c := openBuilt(t, meta().Tensor("token_embd.weight", 0, []int{3, 2}, count(0, 6)).
		Tensor("blk.0.ffn_up.weight", 0, []int{3, 2}, f32(0, 1, 2, 3, 4, 5)).
		Tensor("blk.0.attn_qkv.bias", 0, []int{6}, count(0, 6)).
		Tensor("blk.0.ffn_down.weight", 0, []int{6}, count(0, 6)).
		Tensor("blk.0.attn_output.weight", 12, []int{1, 256}, make([]byte, 144)))
	up, err := c.Tensor("transformer.h.0.mlp.c_fc.weight", 2, 3)
	require.NoError(t, err)
	assert.Equal(t, []int{2, 3}, up.Shape)
	assert.Equal(t, []float32{0, 2, 4, 1, 3, 5}, floats(t, up))
	wte, err := c.Tensor("transformer.wte.weight", 3, 2)
	require.NoError(t, err)
	assert.Equal(t, []float32{0, 1, 2, 3, 4, 5}, floats(t, wte), "embeddings stay as they are")
	_, err = c.Tensor("transformer.h.0.attn.c_attn.bias", 6)
	require.NoError(t, err)
	assert.False(t, c.Has("lm_head.weight"))

	_, err = c.Tensor("transformer.h.0.mlp.c_fc.weight", 3, 2)
	assert.EqualError(t, err, `tensor "transformer.h.0.mlp.c_fc.weight" has shape [2 3] in the checkpoint, `+
		`the model's configuration asks for [3 2] (blk.0.ffn_up.weight in GGUF)`)
	_, err = c.Tensor("transformer.h.0.ln_1.weight", 2)
	assert.ErrorIs(t, err, ErrNoTensor)
	assert.ErrorContains(t, err, `"transformer.h.0.ln_1.weight" ("blk.0.attn_norm.weight" in GGUF)`)
	_, err = c.Tensor("transformer.h.0.mlp.c_proj.weight", 6)
	assert.ErrorContains(t, err, "has shape [6], want a matrix")
	_, err = c.Tensor("transformer.h.0.attn.c_proj.weight", 256, 1)
	assert.ErrorContains(t, err, `tensor "transformer.h.0.attn.c_proj.weight": tensor "blk.0.attn_output.weight" is Q4_K: tensor type not supported`)
}

func TestTransposeOfAnySize(t *testing.T) {
	for _, size := range []int{2, 4} {
		for _, shape := range [][2]int{{1, 1}, {1, 200}, {200, 1}, {64, 64}, {65, 129}, {130, 63}} {
			rows, cols := shape[0], shape[1]
			data := make([]byte, rows*cols*size)
			for i := range rows * cols {
				binary.LittleEndian.PutUint16(data[i*size:], uint16(i))
			}
			got := make([]byte, len(data))
			transpose(got, data, rows, cols, size)
			for i := range rows * cols {
				require.EqualValues(t, i%rows*cols+i/rows, binary.LittleEndian.Uint16(got[i*size:]), "%v element %d", shape, i)
			}
		}
	}
}

func TestHeadsThatDoNotFit(t *testing.T) {
	c := openBuilt(t, llamaMeta().Set("llama.vocab_size", uint32(5)).Tensor("blk.0.attn_q.weight", 0, []int{6, 1}, count(0, 6)))
	_, err := c.Tensor("model.layers.0.self_attn.q_proj.weight", 6, 1)
	assert.ErrorContains(t, err, "6 rows (blk.0.attn_q.weight in GGUF) are not 2 heads of an even width")
}

func TestNamesBothWays(t *testing.T) {
	for arch, s := range schemes {
		seen := 0
		check := func(name string) {
			hf, ok := s.transformers(name)
			require.True(t, ok, "%s: %s", arch, name)
			require.Equal(t, name, s.gguf(hf), arch)
			seen++
		}
		for _, suffix := range []string{".weight", ".bias"} {
			for name := range s.model {
				check(name + suffix)
			}
			for name := range s.layer {
				check("blk.0." + name + suffix)
				check("blk.31." + name + suffix)
			}
		}
		require.Greater(t, seen, 30)
		for _, name := range []string{"other.weight", "blk.0.other.weight", "blk.x.attn_norm.weight", "blk.0.attn_norm", "token_embd", "token_embd.scale"} {
			_, ok := s.transformers(name)
			assert.False(t, ok, "%s: %s", arch, name)
		}
		assert.Equal(t, "model.unknown.weight", s.gguf("model.unknown.weight"))
	}
	name, ok := llamaScheme.transformers("rope_freqs.weight")
	assert.True(t, ok)
	assert.Empty(t, name)
}

// TestPeersParity compares real GGUF files with the safetensors folders they go
// with, every tensor, exactly. A safetensors folder holds bfloat16: what a GGUF
// file has in float32 (norms, biases, dequantised Q4_1 and Q8_0) is rounded to
// it first. SmolLM2's folder was made by Transformers from the Q4_1 file, its
// bf16.gguf by llama.cpp from the same; GPT-2's both from one seeded model.
func TestPeersParity(t *testing.T) {
	for _, c := range []struct{ file, folder string }{
		{"smollm2-q4_1.gguf", "smollm2"}, {"smollm2-bf16.gguf", "smollm2"}, {"gpt2-bf16.gguf", "gpt2"},
	} {
		t.Run(c.file, func(t *testing.T) {
			g, err := Open(t.Context(), testdata.Peers(t, "models", c.file), Options{})
			require.NoError(t, err)
			defer g.Close()
			f, err := Open(t.Context(), testdata.Peers(t, "models", c.folder), Options{})
			require.NoError(t, err)
			defer f.Close()
			compared, elements := 0, 0
			for name, from := range f.(*folder).from {
				require.True(t, g.Has(name), name)
				if testdata.Race && !strings.Contains(name, ".0.") {
					continue // ten times slower: one layer shows what there is to see
				}
				stored, _ := from.Tensor(name)
				want, err := f.Tensor(name, stored.Shape...)
				require.NoError(t, err)
				got, err := g.Tensor(name, stored.Shape...)
				require.NoError(t, err)
				require.Equal(t, kernels.BF16, want.DType)
				require.True(t, bytes.Equal(want.Data, bf16(t, got)), "%s differs", name)
				compared, elements = compared+1, elements+len(want.Data)/2
			}
			require.Len(t, f.(*folder).from, len(g.(*ggufCheckpoint).names), "both have the same tensors")
			t.Logf("%d tensors, %d elements equal", compared, elements)
			for _, key := range []string{
				"vocab_size", "n_embd", "n_layer", "n_head", "n_positions", "layer_norm_epsilon", "hidden_size", "intermediate_size",
				"num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim", "max_position_embeddings", "tie_word_embeddings", "model_type",
			} {
				want, got := field(t, f, key), field(t, g, key)
				if key == "layer_norm_epsilon" && want != nil {
					assert.InDelta(t, want, got, 1e-12)
					continue
				}
				assert.Equal(t, want, got, key)
			}
		})
	}
}

func BenchmarkRestore(b *testing.B) {
	for _, file := range []string{"smollm2-q4_1.gguf", "smollm2-bf16.gguf", "gpt2-bf16.gguf"} {
		b.Run(fmt.Sprintf("file=%s", file), func(b *testing.B) {
			c, err := openGGUF(testdata.Peers(b, "models", file))
			require.NoError(b, err)
			defer c.Close()
			g := c.(*ggufCheckpoint)
			for b.Loop() {
				for _, from := range g.names {
					t, _ := g.file.Tensor(from.tensor)
					data, _, err := g.restoring(from).restore(&g.arena, t)
					require.NoError(b, err)
					g.Recycle(data)
				}
			}
		})
	}
}
