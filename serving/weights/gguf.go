package weights

import (
	"encoding/json"
	"fmt"

	"servebench/kernels"
	"servebench/serving/weights/gguf"
)

// ggufCheckpoint is a GGUF file under the names and in the layout of Transformers.
type ggufCheckpoint struct {
	file   *gguf.File
	conf   json.RawMessage
	scheme *scheme           // nil for an architecture without one: names stay
	names  map[string]string // the tensors' Transformers names to the file's
	heads  map[string]int    // heads of the layer tensors whose rows llama.cpp reorders
}

func openGGUF(path string) (_ Checkpoint, err error) {
	f, err := gguf.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			err = fmt.Errorf("%s: %w", path, err)
		}
	}()
	if n, err := f.Uint("split.count"); err == nil && n > 1 {
		return nil, fmt.Errorf("it is one of %d parts: join them with llama.cpp's llama-gguf-split --merge", n)
	}
	conf, err := ggufConfig(f)
	if err != nil {
		return nil, err
	}
	c := &ggufCheckpoint{file: f, scheme: schemes[conf.modelType()], names: map[string]string{}}
	if c.conf, err = json.Marshal(conf); err != nil {
		return nil, err
	}
	return c, c.rename(conf)
}

// rename fills names. A tensor that an architecture with a scheme does not have
// is refused: a model that uses it is not the one whose name it bears.
func (c *ggufCheckpoint) rename(conf config) error {
	for _, t := range c.file.Tensors() {
		name := t.Name
		if c.scheme != nil {
			var ok bool
			if name, ok = c.scheme.transformers(t.Name); !ok {
				return fmt.Errorf("tensor %q is not known in the architecture %s", t.Name, conf.modelType())
			}
		}
		if name != "" {
			c.names[name] = t.Name
		}
	}
	if c.scheme == &llamaScheme {
		c.heads = map[string]int{"attn_q": conf.int("num_attention_heads"), "attn_k": conf.int("num_key_value_heads")}
	}
	return nil
}

func (c *ggufCheckpoint) Config() json.RawMessage { return c.conf }

func (c *ggufCheckpoint) Has(name string) bool { return c.names[name] != "" }

func (c *ggufCheckpoint) Tensor(name string, shape ...int) (kernels.Tensor, error) {
	t, ok := c.file.Tensor(c.names[name])
	if !ok {
		if c.scheme != nil {
			return kernels.Tensor{}, fmt.Errorf("%w: %q (%q in GGUF)", ErrNoTensor, name, c.scheme.gguf(name))
		}
		return kernels.Tensor{}, fmt.Errorf("%w: %q", ErrNoTensor, name)
	}
	how := c.restoring(t.Name)
	have := t.Shape
	if how.transpose {
		if len(have) != 2 {
			return kernels.Tensor{}, fmt.Errorf("tensor %q (%s) has shape %v, want a matrix", name, t.Name, have)
		}
		have = []int{have[1], have[0]}
	}
	if err := sameShape(name, have, shape); err != nil {
		return kernels.Tensor{}, fmt.Errorf("%w (%s in GGUF)", err, t.Name)
	}
	data, dtype, err := how.restore(t)
	if err != nil {
		return kernels.Tensor{}, fmt.Errorf("tensor %q: %w", name, err)
	}
	return kernels.Tensor{Name: name, Shape: have, DType: dtype, Data: data}, nil
}

// restoring says what was done to a tensor when it was converted.
func (c *ggufCheckpoint) restoring(name string) restoring {
	if c.scheme == nil {
		return restoring{}
	}
	layer, suffix := layerTensor(name)
	return restoring{
		heads:     c.heads[layer],
		transpose: suffix == ".weight" && c.scheme.transposed[layer],
	}
}

func (c *ggufCheckpoint) Close() error { return c.file.Close() }
