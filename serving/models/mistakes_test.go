package models_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/serving/weights"
)

// altered is a checkpoint that makes a right model compute something wrong.
type altered struct {
	weights.Checkpoint
	config string                             // fields over those of config.json
	tensor string                             // end of the names that change alters
	change func(data []byte, rows int) []byte // of a tensor of so many rows
}

func (a altered) Config() json.RawMessage {
	all := map[string]any{}
	for _, c := range [][]byte{a.Checkpoint.Config(), []byte(a.config)} {
		if err := json.Unmarshal(c, &all); err != nil {
			panic(err)
		}
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return b
}

func (a altered) Tensor(name string, shape ...int) (kernels.Tensor, error) {
	t, err := a.Checkpoint.Tensor(name, shape...)
	if err == nil && a.change != nil && strings.HasSuffix(name, a.tensor) {
		t.Data = a.change(t.Data, t.Shape[0])
	}
	return t, err
}

func zero(data []byte, _ int) []byte { return make([]byte, len(data)) }

// rotateRows moves the last n rows of every tensor to its front: with n the rows of
// a head, every head takes its neighbour's place.
func rotateRows(n int) func([]byte, int) []byte {
	return func(data []byte, rows int) []byte {
		cut := len(data) / rows * (rows - n)
		return append(bytes.Clone(data[cut:]), data[:cut]...)
	}
}

// TestParitySeesMistakes checks that the bound on bfloat16's errors, the wider
// one, still tells every kind of mistake from rounding.
func TestParitySeesMistakes(t *testing.T) {
	all := devices(kernels.BF16)
	dev := all[len(all)-1] // the quicker ones come after ref
	check := func(mistake, model string, a altered) {
		t.Helper()
		t.Run(mistake, func(t *testing.T) {
			g := readGolden(t, model)
			a.Checkpoint = tiny(t, model)
			if a.config == "" {
				a.config = "{}"
			}
			worst, share := g.compareAll(t, alone(newLab(t, dev.open(t), a), g), kernels.BF16)
			t.Logf("an error of %.2g is %.1f times the allowed", worst, share)
			require.Greater(t, share, 3.0, "the bound is too wide")
		})
	}
	check("window one short", "tiny-mistral", altered{config: `{"sliding_window":12}`})
	check("window one long", "tiny-mistral", altered{config: `{"sliding_window":14}`})
	check("no window", "tiny-mistral", altered{config: `{"sliding_window":null}`})
	check("window in every layer", "tiny-qwen2-window", altered{config: `{"layer_types":null,"max_window_layers":0}`})
	check("window in no layer", "tiny-qwen2-window", altered{config: `{"layer_types":null,"max_window_layers":2}`})
	check("keys of the next head", "tiny-llama", altered{tensor: "k_proj.weight", change: rotateRows(10)})
	check("biases of the next head", "tiny-gpt2-options", altered{tensor: "c_attn.bias", change: rotateRows(8)})
	check("rotary base", "tiny-llama", altered{config: `{"rope_parameters":{"rope_theta":10000}}`})
	check("fewer elements rotated", "tiny-phi", altered{config: `{"rope_parameters":{"partial_rotary_factor":0.2}}`})
	check("linear scaling left out", "tiny-llama-linear", altered{config: `{"rope_parameters":null}`})
	check("llama3 scaling of the highest frequencies alone", "tiny-llama-llama3", altered{config: `{"rope_parameters":
		{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":2,"original_max_position_embeddings":64}}`})
	check("yarn without its magnitude", "tiny-llama-yarn", altered{config: `{"rope_parameters":
		{"rope_type":"yarn","factor":4,"original_max_position_embeddings":30,"attention_factor":1.0}}`})
	check("scores not scaled by layer", "tiny-gpt2-options", altered{config: `{"scale_attn_by_inverse_layer_idx":false}`})
	check("other activation", "tiny-gpt2-options", altered{config: `{"activation_function":"gelu_new"}`})
	check("bias of the head left out", "tiny-phi", altered{tensor: "lm_head.bias", change: zero})
	check("bias of attention's output left out", "tiny-llama-bias", altered{tensor: "o_proj.bias", change: zero})
	check("bias of the gate left out", "tiny-llama-bias", altered{tensor: "gate_proj.bias", change: zero})
	check("bias of keys left out", "tiny-qwen2", altered{tensor: "k_proj.bias", change: zero})
	check("tied head", "tiny-llama-bias", altered{config: `{"tie_word_embeddings":true}`})
}
