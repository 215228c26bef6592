package tokenizer

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/weights"
)

// TestOpenFor: only dummy weights do without a tokenizer's files.
func TestOpenFor(t *testing.T) {
	dir := t.TempDir()
	config := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(text), 0o600))
	}
	config(`{"model_type":"gpt2","vocab_size":300}`)
	at := weights.Location{Dir: dir}
	dummy := weights.Options{LoadFormat: weights.Dummy}
	_, err := OpenFor(at, weights.Options{})
	assert.ErrorIs(t, err, fs.ErrNotExist)
	built, err := OpenFor(at, dummy)
	require.NoError(t, err)
	assert.Equal(t, 300, built.Size())
	known, err := OpenFor(weights.Location{ID: "microsoft/phi-2"}, dummy)
	require.NoError(t, err)
	assert.Equal(t, 4096, known.Size())

	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), dummyJSON, 0o600))
	own, err := OpenFor(at, dummy)
	require.NoError(t, err)
	assert.Equal(t, 4096, own.Size(), "its own goes before the built-in one")
	config(`{"vocab_size":"many"}`)
	_, err = OpenFor(at, dummy)
	assert.ErrorContains(t, err, "config.json")
}
