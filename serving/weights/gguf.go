package weights

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"servebench/kernels"
	"servebench/serving/weights/gguf"
)

// ggufCheckpoint is a GGUF file under the names and in the layout of Transformers.
type ggufCheckpoint struct {
	arena
	file   *gguf.File
	conf   json.RawMessage
	scheme *scheme           // nil for an architecture without one: names stay
	names  map[string]source // by the tensors' Transformers names
	heads  map[string]int    // heads of the layer tensors whose rows llama.cpp reorders
}

// source is where a tensor's rows lie in the file.
type source struct {
	tensor string
	rows   span // of a tensor that is several in Transformers; else zero
}

// span is rows [first, first+n).
type span struct{ first, n int }

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
	c := &ggufCheckpoint{file: f, scheme: schemes[conf.modelType()], names: map[string]source{}}
	if c.conf, err = json.Marshal(conf); err != nil {
		return nil, err
	}
	return c, c.rename(conf)
}

// rename fills names. A tensor that an architecture with a scheme does not have
// is refused: a model that uses it is not the one whose name it bears.
func (c *ggufCheckpoint) rename(conf config) error {
	for _, t := range c.file.Tensors() {
		if c.scheme == nil {
			c.names[t.Name] = source{tensor: t.Name}
			continue
		}
		name, ok := c.scheme.transformers(t.Name)
		switch {
		case !ok:
			return fmt.Errorf("tensor %q is not known in the architecture %s", t.Name, conf.modelType())
		case name == "": // ignored
		case strings.Contains(name, fusedQKV):
			c.split(name, t.Name, conf)
		default:
			c.names[name] = source{tensor: t.Name}
		}
	}
	if c.scheme == &llamaScheme {
		c.heads = map[string]int{"attn_q": conf.int("num_attention_heads"), "attn_k": conf.int("num_key_value_heads")}
	}
	return nil
}

// split gives the parts of a tensor that has queries, keys and values, one below
// the other, their names.
func (c *ggufCheckpoint) split(name, tensor string, conf config) {
	head := conf.int("hidden_size") / max(conf.int("num_attention_heads"), 1)
	at := 0
	for _, part := range []struct {
		name  string
		heads int
	}{
		{"q_proj", conf.int("num_attention_heads")},
		{"k_proj", conf.int("num_key_value_heads")}, {"v_proj", conf.int("num_key_value_heads")},
	} {
		n := part.heads * head
		c.names[strings.Replace(name, fusedQKV, part.name, 1)] = source{tensor, span{at, n}}
		at += n
	}
}

func (c *ggufCheckpoint) Config() json.RawMessage { return c.conf }

func (c *ggufCheckpoint) Has(name string) bool { return c.names[name].tensor != "" }

func (c *ggufCheckpoint) Tensor(name string, shape ...int) (kernels.Tensor, error) {
	t, how, err := c.find(name, shape)
	if err != nil {
		return kernels.Tensor{}, err
	}
	data, dtype, err := how.restore(&c.arena, t)
	if err != nil {
		return kernels.Tensor{}, fmt.Errorf("tensor %q: %w", name, err)
	}
	return kernels.Tensor{Name: name, Shape: shape, DType: dtype, Data: data}, nil
}

// describe is Tensor without the data.
func (c *ggufCheckpoint) describe(name string, shape ...int) (kernels.Tensor, error) {
	t, _, err := c.find(name, shape)
	if err != nil {
		return kernels.Tensor{}, err
	}
	dtype, plain := ggufDTypes[t.Type]
	if !plain {
		dtype = kernels.F32
		if err := t.Dequantize(nil, 0, 0); err != nil {
			return kernels.Tensor{}, fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return kernels.Tensor{Name: name, Shape: shape, DType: dtype}, nil
}

// find finds a tensor, compares its shape with the one asked for and says how to
// restore it.
func (c *ggufCheckpoint) find(name string, shape []int) (gguf.Tensor, restoring, error) {
	from := c.names[name]
	t, ok := c.file.Tensor(from.tensor)
	if !ok {
		if c.scheme != nil {
			return t, restoring{}, fmt.Errorf("%w: %q (%q in GGUF)", ErrNoTensor, name, c.scheme.gguf(name))
		}
		return t, restoring{}, fmt.Errorf("%w: %q", ErrNoTensor, name)
	}
	how := c.restoring(from)
	have := slices.Clone(t.Shape)
	switch {
	case how.transpose && len(have) != 2:
		return t, how, fmt.Errorf("tensor %q (%s) has shape %v, want a matrix", name, t.Name, have)
	case how.transpose:
		slices.Reverse(have)
	case from.rows.n > 0:
		if len(have) == 0 || have[0]-from.rows.first < from.rows.n { // the sum may overflow
			return t, how, fmt.Errorf("tensor %q is rows %d to %d of %s, which has shape %v", name, from.rows.first, from.rows.first+from.rows.n, t.Name, have)
		}
		have[0] = from.rows.n
	}
	if err := sameShape(name, have, shape); err != nil {
		return t, how, fmt.Errorf("%w (%s in GGUF)", err, t.Name)
	}
	return t, how, nil
}

// restoring says what was done to a tensor when it was converted.
func (c *ggufCheckpoint) restoring(from source) restoring {
	if c.scheme == nil {
		return restoring{}
	}
	layer, suffix := layerTensor(from.tensor)
	return restoring{
		heads:     c.heads[layer],
		transpose: suffix == ".weight" && c.scheme.transposed[layer],
		rows:      from.rows,
	}
}

func (c *ggufCheckpoint) Close() error {
	c.drop()
	return c.file.Close()
}
