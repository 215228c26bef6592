package tensors

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// TestRealConversions compares folders of safetensors with what llama.cpp's
// converter made of them, and with a quantised model.
func TestRealConversions(t *testing.T) {
	if testdata.Race {
		t.Skip("SKIPPED under the race detector: it reads 800 MB value by value")
	}
	digested := func(path string) *Weights {
		t.Helper()
		w, err := Open(testdata.Peers(t, path))
		require.NoError(t, err)
		began := time.Now()
		require.NoError(t, w.Digest(t.Context()))
		t.Logf("%s: %d tensors, %s, in %v", filepath.Base(path), len(w.Tensors), w.Dtype(), time.Since(began))
		return w
	}
	for _, name := range []string{"gpt2", "smollm2"} {
		folder, gguf := digested("models/"+name), digested("models/"+name+"-bf16.gguf")
		c := Compare(folder, gguf)
		assert.True(t, c.Same(), "%s: %s", name, &c)
		t.Log(c.String())
	}
	c := Compare(digested("models/smollm2"), digested("models/smollm2-q4_1.gguf"))
	assert.False(t, c.Same())
	t.Log(c.String())
	c = Compare(digested("models/smollm2"), digested("models/gpt2"))
	assert.False(t, c.Same())
	t.Log(c.String())
}
