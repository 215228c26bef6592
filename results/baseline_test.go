package results_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/perf/benchfmt"

	"servebench/results"
	"servebench/results/ratio"
)

// What is committed below baseline was written by older versions of the suite.
// It has to be read as long as it is there.
func TestBaselineIsRead(t *testing.T) {
	root := os.DirFS("baseline")
	read := map[string]int{}
	require.NoError(t, fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(root, name)
		require.NoError(t, err)
		switch base := path.Base(name); {
		case base == results.FileCSV:
			checkTable(t, name, data)
		case base == results.FileBench:
			checkBench(t, name, data)
		case strings.HasPrefix(base, "environment") && path.Ext(base) == ".json":
			checkEnvironment(t, name, data)
			base = results.FileEnvironment
			read[base]++
			return nil
		}
		read[path.Base(name)]++
		return nil
	}))
	for _, name := range []string{results.FileCSV, results.FileBench, results.FileEnvironment} {
		assert.Positive(t, read[name], "there is no %s", name)
	}
}

func checkTable(t *testing.T, name string, data []byte) {
	t.Helper()
	rows, err := ratio.Read(bytes.NewReader(data))
	require.NoError(t, err, name)
	require.NotEmpty(t, rows, name)
	for i := range rows {
		for _, column := range []string{"out_tok_per_s", "latency_p50_s"} {
			v, ok := rows[i].Figure(column)
			assert.True(t, ok && v > 0, "%s, row %d: %s is %v", name, i, column, v)
		}
	}
}

func checkBench(t *testing.T, name string, data []byte) {
	t.Helper()
	n := 0
	r := benchfmt.NewReader(bytes.NewReader(data), name)
	for r.Scan() {
		switch rec := r.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Error(rec)
		case *benchfmt.Result:
			n++
			_, ok := rec.Value("out-tok/s")
			assert.True(t, ok, "%s: %s", name, rec.Name)
		}
	}
	require.NoError(t, r.Err())
	assert.Positive(t, n, name)
}

func checkEnvironment(t *testing.T, name string, data []byte) {
	t.Helper()
	var e results.Environment
	require.NoError(t, json.Unmarshal(data, &e), name)
	assert.NotEmpty(t, e.Machine.CPU, name)
	assert.NotEmpty(t, e.Servers, name)
}
