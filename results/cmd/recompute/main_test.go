package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

// aRun writes a run of two passes and returns its folder.
func aRun(t *testing.T) string {
	t.Helper()
	r, err := results.Create(t.TempDir(), results.RunOptions{})
	require.NoError(t, err)
	for repeat := range 2 {
		req := results.Request{
			Case:      results.Case{Framework: "custom", Model: "gpt2", Task: "qa", Mode: results.ModeStream, Parallel: 1},
			Repeat:    repeat,
			Scheduled: time.Second, Sent: time.Second, RecountedTokens: -1, OutputTokens: 2,
			Chunks: []results.Chunk{{At: 1100 * time.Millisecond, Bytes: 1}, {At: 1200 * time.Millisecond, Bytes: 1}},
		}
		_, err = r.Add([]results.Request{req}, results.Options{Usage: results.Usage{PeakRSS: 1 << 20}})
		require.NoError(t, err)
	}
	require.NoError(t, r.Complete())
	require.NoError(t, r.Close())
	return r.Dir()
}

func TestRecompute(t *testing.T) {
	dir := aRun(t)
	var out, warn strings.Builder
	require.NoError(t, run(dir, false, &out, &warn))
	want, err := os.ReadFile(filepath.Join(dir, results.FileCSV))
	require.NoError(t, err)
	assert.Equal(t, string(want), out.String())

	out.Reset()
	require.NoError(t, run(dir, true, &out, &warn))
	assert.Equal(t, "2 rows, all as the raw records give them\n", out.String())
	assert.Empty(t, warn.String())

	// What a killed run left behind is told, and no difference.
	f, err := os.OpenFile(filepath.Join(dir, results.FileRequests), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(`{"case":`)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.NoError(t, run(dir, true, &out, &warn))
	assert.Contains(t, warn.String(), "the last 8 bytes of requests.jsonl")
}

// The check can fail: on a row that was touched up, and on a record.
func TestRecomputeFinds(t *testing.T) {
	for name, change := range map[string][2]string{
		results.FileCSV:      {",0.2,", ",0.1,"},
		results.FileRequests: {"1200000000", "1200000001"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := aRun(t)
			p := filepath.Join(dir, name)
			data, err := os.ReadFile(p)
			require.NoError(t, err)
			require.Contains(t, string(data), change[0])
			require.NoError(t, os.WriteFile(p, []byte(strings.Replace(string(data), change[0], change[1], 1)), 0o644))
			var out, warn strings.Builder
			require.ErrorContains(t, run(dir, true, &out, &warn), "1 lines of results.csv")
			assert.Contains(t, out.String(), "row 1, ")
		})
	}
	var out strings.Builder
	require.ErrorIs(t, run(t.TempDir(), true, &out, &out), os.ErrNotExist)
}

// A run of a version of the suite that had other columns can be checked: those
// that both have.
func TestRecomputeOtherVersion(t *testing.T) {
	dir := aRun(t)
	p := filepath.Join(dir, results.FileCSV)
	data, err := os.ReadFile(p)
	require.NoError(t, err)
	renamed := strings.Replace(string(data), "server_cpu_s_per_ktok", "server_cpu_s_per_tok_", 1) // of the same length: the journal tells the file's
	require.NoError(t, os.WriteFile(p, []byte(renamed), 0o644))
	var out, warn strings.Builder
	require.NoError(t, run(dir, true, &out, &warn))
	assert.Equal(t, "recompute: warning: columns of another version of the suite, not checked: server_cpu_s_per_tok_\n"+
		"recompute: warning: columns that the version of the suite that wrote the file did not have: server_cpu_s_per_ktok\n", warn.String())
	assert.Contains(t, out.String(), "2 rows, all as")
}

func TestCompare(t *testing.T) {
	for name, test := range map[string]struct {
		have, want string
		n          int
		err        string
	}{
		"the same":        {"a,b\n1,2\n", "a,b\n1,2\n", 0, ""},
		"another order":   {"b,a\n2,1\n", "a,b\n1,2\n", 0, ""},
		"a cell":          {"a,b\n1,3\n", "a,b\n1,2\n", 1, ""},
		"two of one row":  {"a,b\n0,3\n", "a,b\n1,2\n", 1, ""},
		"a row more":      {"a\n1\n2\n", "a\n1\n", 1, ""},
		"two rows less":   {"a\n", "a\n1\n2\n", 2, ""},
		"other columns":   {"c\n1\n", "a\n1\n", 0, "none of its columns is known"},
		"empty":           {"", "a\n1\n", 0, "no header"},
		"no table":        {"a,b\n1\n", "a,b\n1,2\n", 0, "wrong number of fields"},
		"a broken quote":  {"a\n\"1\n", "a\n1\n", 0, "extraneous or missing"},
		"a column is new": {"a\n1\n", "a,b\n1,2\n", 0, ""},
	} {
		var out strings.Builder
		n, _, err := compare([]byte(test.have), []byte(test.want), &out)
		if test.err != "" {
			assert.ErrorContains(t, err, test.err, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, test.n, n, name)
		assert.Equal(t, test.n > 0, out.Len() > 0, name)
	}
}
