package weights

import (
	"encoding/json"

	"servebench/kernels"
)

// Shapes gives a checkpoint without its data, to find out what a model needs
// before it is loaded: Tensor refuses the same names and shapes, and says in
// which dtype the elements would come, but reads and draws none; Data is nil.
// Closing it leaves ck open.
func Shapes(ck Checkpoint) Checkpoint { return shapes{ck} }

type shapes struct{ ck Checkpoint }

// describer is a Checkpoint that can tell of a tensor without its data.
type describer interface {
	describe(name string, shape ...int) (kernels.Tensor, error)
}

func (s shapes) Config() json.RawMessage { return s.ck.Config() }
func (s shapes) Has(name string) bool    { return s.ck.Has(name) }
func (s shapes) Close() error            { return nil }

func (s shapes) Tensor(name string, shape ...int) (kernels.Tensor, error) {
	if d, ok := s.ck.(describer); ok {
		return d.describe(name, shape...)
	}
	t, err := s.ck.Tensor(name, shape...)
	t.Data = nil
	return t, err
}
