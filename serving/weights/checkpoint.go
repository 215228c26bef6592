package weights

import (
	"encoding/json"
	"errors"

	"servebench/kernels"
)

// ErrNoTensor is returned, wrapped with the tensor's name, when a checkpoint
// lacks a tensor that the architecture needs.
var ErrNoTensor = errors.New("tensor not in checkpoint")

// Checkpoint is an opened model: its configuration and its tensors, under the
// names and in the layout of Hugging Face's Transformers, whatever container
// they came in. A GGUF file's metadata is given as the config.json it was
// converted from, its tensors under their Transformers names, with the rotary
// row order of Llama's q_proj and k_proj restored.
type Checkpoint interface {
	// Config returns a config.json; "model_type" names the architecture.
	Config() json.RawMessage
	// Has reports whether Tensor(name) would find a tensor. Dummy checkpoints have every one.
	Has(name string) bool
	// Tensor returns one tensor. A shape that differs from the one given is an
	// error that names the tensor and both shapes. Data is valid until Close, or
	// until it is given back to a Recycler.
	Tensor(name string, shape ...int) (kernels.Tensor, error)
	// Close unmaps the files.
	Close() error
}
