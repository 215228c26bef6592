package serving_test

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestDocNamesFiles holds that every file that doc.go sends the reader to is
// there, and that it lists every package.
func TestDocNamesFiles(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	paths := regexp.MustCompile(`[a-z0-9/]+/[a-z0-9]+\.(go|c)\b`).FindAllString(string(doc), -1)
	require.Greater(t, len(paths), 10)
	for _, p := range paths {
		_, here := os.Stat(p)
		_, above := os.Stat(filepath.Join("..", p))
		require.Truef(t, here == nil || above == nil, "doc.go names %s, which is not there", p)
	}
	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	for _, e := range entries {
		if e.IsDir() && e.Name() != "cmd" && e.Name() != "testdata" {
			require.Regexpf(t, `(?m)^//\t`+e.Name()+` `, string(doc), "doc.go does not list package %s", e.Name())
		}
	}
}
