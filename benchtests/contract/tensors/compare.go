package tensors

import (
	"fmt"
	"strings"
)

// Comparison is what two digested sets of weights have in common. A tensor that
// is there twice, such as an embedding that is the output too, counts once.
type Comparison struct {
	Shared int   // tensors that both have
	Values int64 // of the shared tensors
	// Left and Right are the tensors that one side alone has, in their order.
	Left, Right []Tensor
}

// notWeights are the ends of names of what a file may hold besides weights, and
// another format has not: causal masks, and tables of RoPE.
var notWeights = []string{".attn.bias", ".attn.masked_bias", ".rotary_emb.inv_freq", "rope_freqs.weight"}

// Compare compares what Digest has read. Tensors whose type has no digest are
// on no other side.
func Compare(left, right *Weights) Comparison {
	a, b := distinct(left), distinct(right)
	var c Comparison
	for _, t := range a.order {
		if b.has[t.Digest] && t.Digest != "" {
			c.Shared++
			c.Values += t.Values
		} else {
			c.Left = append(c.Left, t)
		}
	}
	for _, t := range b.order {
		if !a.has[t.Digest] || t.Digest == "" {
			c.Right = append(c.Right, t)
		}
	}
	return c
}

type set struct {
	order []Tensor
	has   map[string]bool
}

func distinct(w *Weights) set {
	s := set{has: map[string]bool{}}
	for _, t := range w.Tensors {
		if t.isWeights() && (t.Digest == "" || !s.has[t.Digest]) {
			s.has[t.Digest] = true
			s.order = append(s.order, t)
		}
	}
	return s
}

func (t *Tensor) isWeights() bool {
	for _, end := range notWeights {
		if strings.HasSuffix(t.Name, end) {
			return false
		}
	}
	return true
}

// Same reports whether each side's weights are on the other.
func (c *Comparison) Same() bool { return c.Shared > 0 && len(c.Left)+len(c.Right) == 0 }

// String says it in a sentence.
func (c *Comparison) String() string {
	if c.Same() {
		return fmt.Sprintf("%d tensors with %d values are the same", c.Shared, c.Values)
	}
	side := func(only []Tensor) string {
		if len(only) == 0 {
			return "none"
		}
		return fmt.Sprintf("%d, the first %s (%s)", len(only), only[0].Name, only[0].Type)
	}
	return fmt.Sprintf("%d tensors are the same, on one side alone are %s, on the other %s", c.Shared, side(c.Left), side(c.Right))
}
