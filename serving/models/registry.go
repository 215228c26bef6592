package models

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"servebench/kernels"
	"servebench/serving/weights"
)

// ErrUnsupported is returned, wrapped with what was asked for and what there
// is, for an architecture, or a variant of one, that this package does not have.
var ErrUnsupported = errors.New("not supported")

// ErrConfig is returned, wrapped with the field, for a configuration that
// lacks a field or contradicts itself.
var ErrConfig = errors.New("bad model configuration")

// architectures maps config.json's model_type to the code for it.
var architectures = map[string]architecture{
	"gpt2":    parseGPT2,
	"llama":   parseLlama,
	"mistral": parseMistral,
	"phi":     parsePhi,
	"qwen2":   parseQwen2,
}

// Architectures lists the model types that Open takes, sorted.
func Architectures() []string { return slices.Sorted(maps.Keys(architectures)) }

// names lists the keys of a table for an error.
func names[V any](table map[string]V) string {
	return strings.Join(slices.Sorted(maps.Keys(table)), ", ")
}

// architecture reads a config.json; the network that it returns is not loaded yet.
type architecture func(config json.RawMessage) (network, error)

// network is one architecture with its configuration.
type network interface {
	// spec tells the sizes that the rest of the package needs.
	spec() Spec
	// load takes the weights from l, which keeps the first error.
	load(l *loader)
	// forward queues every operation up to the last layer on the device of m.
	// Afterwards m.last plus m.delta is the residual stream of the rows that want
	// logits, [R, D].
	forward(m *Model, s *kernels.Step)
	// head returns what makes logits of it, once loaded.
	head() head
}

// Spec is the size of a model.
type Spec struct {
	Architecture string
	Vocab        int // V
	MaxPositions int // P
	Layers       int // L
	Width        int // D
	FFN          int // F
	FFNGated     bool
	// H, G, E; the scale of the first layer; the widest window of any layer, 0
	// when one sees everything.
	Attn kernels.Attn
}

// KVBytesPerToken returns the bytes that one token takes in a cache of dtype t.
func (s Spec) KVBytesPerToken(t kernels.DType) int {
	return 2 * s.Layers * s.Attn.KVHeads * s.Attn.HeadDim * t.Size()
}

// Describe reads the checkpoint's configuration.
func Describe(ck weights.Checkpoint) (Spec, error) {
	n, err := parse(ck)
	if err != nil {
		return Spec{}, err
	}
	return n.spec(), nil
}

func parse(ck weights.Checkpoint) (network, error) {
	var head struct {
		ModelType    string `json:"model_type"`
		Quantization *struct {
			Method string `json:"quant_method"`
		} `json:"quantization_config"`
	}
	if err := json.Unmarshal(ck.Config(), &head); err != nil {
		return nil, fmt.Errorf("%w: config.json: %v", ErrConfig, err)
	}
	if head.ModelType == "" {
		return nil, fmt.Errorf("%w: config.json has no model_type", ErrConfig)
	}
	arch, ok := architectures[head.ModelType]
	if !ok {
		return nil, fmt.Errorf("architecture %q (config.json's model_type, a GGUF's general.architecture) is %w; supported: %s",
			head.ModelType, ErrUnsupported, names(architectures))
	}
	if q := head.Quantization; q != nil {
		return nil, fmt.Errorf("%s: quantization_config (quant_method %q) is %w: take the model in bfloat16, or as a GGUF file",
			head.ModelType, q.Method, ErrUnsupported)
	}
	n, err := arch(ck.Config())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", head.ModelType, err)
	}
	return n, n.spec().check()
}

// The largest sizes accepted: several times those of the largest published
// dense models, and small enough that no product of two overflows.
const (
	maxWidth     = 1 << 17
	maxVocab     = 1 << 22
	maxLayers    = 1 << 10
	maxPositions = 1 << 24
)

// check refuses sizes that no model has, before anything is allocated by them.
func (s Spec) check() error {
	for _, f := range []struct {
		name       string
		value, max int
	}{
		{"vocabulary size", s.Vocab, maxVocab},
		{"maximum positions", s.MaxPositions, maxPositions},
		{"number of layers", s.Layers, maxLayers},
		{"hidden size", s.Width, maxWidth},
		{"feed-forward size", s.FFN, maxWidth * 8},
		{"number of attention heads", s.Attn.Heads, maxWidth},
		{"number of key/value heads", s.Attn.KVHeads, maxWidth},
		{"head size", s.Attn.HeadDim, maxWidth},
	} {
		if f.value < 1 || f.value > f.max {
			return fmt.Errorf("%w: %s is %d, not between 1 and %d", ErrConfig, f.name, f.value, f.max)
		}
	}
	if s.Attn.Heads%s.Attn.KVHeads != 0 {
		return fmt.Errorf("%w: %d attention heads cannot share %d key/value heads evenly",
			ErrConfig, s.Attn.Heads, s.Attn.KVHeads)
	}
	if s.Attn.Heads*s.Attn.HeadDim > maxWidth {
		return fmt.Errorf("%w: %d heads of %d are wider than %d", ErrConfig, s.Attn.Heads, s.Attn.HeadDim, maxWidth)
	}
	return nil
}
