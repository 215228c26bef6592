package datasets_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/datasets/tokenizertest"
	"servebench/testdata"
)

func TestMain(m *testing.M) {
	tokenizertest.Main()
	os.Exit(m.Run())
}

// authored is the file of a dataset in the repository's own prompt sets.
func authored(d datasets.Dataset) string { return testdata.Path("prompts", d.Name+".jsonl") }

// rowsOf reads all rows of files.
func rowsOf(t *testing.T, d datasets.Dataset, paths ...string) []datasets.Row {
	t.Helper()
	src, err := d.Open(paths...)
	require.NoError(t, err)
	var rows []datasets.Row
	for row, err := range src.Rows() {
		require.NoError(t, err)
		rows = append(rows, row)
	}
	return rows
}

// errorOf reads a file up to its first error, which there must be.
func errorOf(t *testing.T, d datasets.Dataset, path string) string {
	t.Helper()
	src, err := d.Open(path)
	require.NoError(t, err)
	for _, err := range src.Rows() {
		if err != nil {
			return err.Error()
		}
	}
	t.Fatalf("%s was read without an error", path)
	return ""
}

func write(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}

func zipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(data)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	return b.Bytes()
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

func model(t *testing.T, name string) datasets.Model {
	t.Helper()
	m, err := datasets.ModelByName(name)
	require.NoError(t, err)
	return m
}

// words counts white space separated words, so that a test can choose lengths.
type words struct{ tokenizertest.Local }

func (words) Count(_ context.Context, texts []string, _ bool) ([]int, error) {
	n := make([]int, len(texts))
	for i, text := range texts {
		n[i] = len(strings.Fields(text))
	}
	return n, nil
}

// chatRow is an opening prompt of n words, different for each id.
func chatRow(id string, n int) string {
	text := id + strings.Repeat(" word", n-1)
	quoted, _ := json.Marshal(text)
	return fmt.Sprintf(`{"message_id":%q,"parent_id":null,"text":%s,"role":"prompter","lang":"en","deleted":false}`+"\n", id, quoted)
}

func chatRows(ids ...string) string {
	var b strings.Builder
	for _, id := range ids {
		b.WriteString(chatRow(id, 30))
	}
	return b.String()
}

func numbered(n int) []string {
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("row-%04d", i)
	}
	return ids
}

// prepareText prepares chat prompts of rows in memory.
func prepareText(t *testing.T, rows string, opts datasets.Options) (*datasets.Set, error) {
	t.Helper()
	src, err := datasets.DatasetFor(datasets.Chat).Open(write(t, "rows.jsonl", []byte(rows)))
	require.NoError(t, err)
	return datasets.Prepare(t.Context(), src, model(t, "gpt2"), words{}, opts)
}
