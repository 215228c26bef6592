package datasets_test

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/testdata"
)

// The same rows come out of JSONL, of gzipped JSONL and of Parquet files that
// pyarrow wrote with the hub's schemas, the older list layout included.
func TestFormatsAgree(t *testing.T) {
	for _, d := range datasets.Datasets() {
		t.Run(d.Name, func(t *testing.T) {
			plain := rowsOf(t, d, authored(d))
			packed := rowsOf(t, d, write(t, "named-as-it-likes.json", zipped(t, read(t, authored(d)))))
			require.Len(t, packed, len(plain))
			check := func(name string, got []datasets.Row) {
				t.Helper()
				require.LessOrEqual(t, len(got), len(plain))
				for i, row := range got {
					assert.NotEqual(t, plain[i].Where, row.Where)
					row.Where = plain[i].Where
					assert.Equal(t, plain[i], row, "%s, row %d", name, i+1)
				}
			}
			check("gzip", packed)
			parquet := rowsOf(t, d, testdata.Path("parquet", d.Name+".parquet"))
			require.Len(t, parquet, 10)
			check("parquet", parquet)
			assert.Equal(t, d.Name+".parquet: row 10", parquet[9].Where)
			if old := testdata.Path("parquet", d.Name+"-item.parquet"); exists(old) {
				check("parquet of an older writer", rowsOf(t, d, old))
			}
		})
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestSeveralFiles(t *testing.T) {
	d := datasets.DatasetFor(datasets.Chat)
	a := write(t, "a.jsonl", []byte(chatRows("one", "two")))
	b := write(t, "b.jsonl", []byte("\n"+chatRows("three")+"\n\n"))
	rows := rowsOf(t, d, a, b)
	require.Len(t, rows, 3)
	assert.Equal(t, []string{"a.jsonl:1", "a.jsonl:2", "b.jsonl:2"}, []string{rows[0].Where, rows[1].Where, rows[2].Where})
}

func TestBadRows(t *testing.T) {
	chat := datasets.DatasetFor(datasets.Chat)
	qa := datasets.DatasetFor(datasets.QA)
	code := datasets.DatasetFor(datasets.Code)
	good := chatRows("one")
	for name, c := range map[string]struct {
		data datasets.Dataset
		text string
		want []string
	}{
		"cut line":       {chat, good + `{"message_id": "x`, []string{"rows.jsonl:2", "OpenAssistant/oasst1", "unexpected end of JSON"}},
		"no JSON":        {chat, good + good + "message_id,text\n", []string{"rows.jsonl:3", "invalid character"}},
		"array":          {chat, "[1, 2]\n", []string{"rows.jsonl:1", "want a JSON object", `"message_id"`, "array"}},
		"wrong type":     {chat, strings.Replace(good, `"deleted":false`, `"deleted":"no"`, 1), []string{"rows.jsonl:1", `field "deleted" is a JSON string, want bool`}},
		"empty id":       {chat, strings.Replace(good, `"message_id":"one"`, `"message_id":""`, 1), []string{"rows.jsonl:1", "id is empty"}},
		"not UTF-8":      {chat, strings.Replace(good, "word", "w\xff", 1), []string{"rows.jsonl:1", "not UTF-8"}},
		"other dataset":  {qa, good, []string{"rows.jsonl:1", "mandarjoshi/trivia_qa (rc.nocontext)", `no field "question"`, "message_id", "parent_id"}},
		"answer missing": {qa, `{"question":"?","question_id":"1","answer":{"aliases":[]}}`, []string{`no field "answer.value"; it has: aliases`}},
		"answer null":    {qa, `{"question":"?","question_id":"1","answer":null}`, []string{`no field "answer.value"`}},
		"answer text":    {qa, `{"question":"?","question_id":"1","answer":"x"}`, []string{`field "answer.value", got a JSON string`}},
		"no function":    {code, `{"task_id":"1","prompt":"x = 1","entry_point":"f"}`, []string{`no function "f"`}},
		"no entry point": {code, `{"task_id":"1","prompt":"def (a):","entry_point":""}`, []string{`no function ""`}},
		"open signature": {code, `{"task_id":"1","prompt":"def f(a: int","entry_point":"f"}`, []string{"has no end"}},
		"endless line":   {chat, strings.Repeat("x", 17<<20), []string{"rows.jsonl:1", "longer than 16 MiB"}},
		"bad gzip":       {chat, "\x1f\x8b not really", []string{"rows.jsonl", "gzip"}},
		"bad Parquet":    {chat, "PAR1 not really PAR1", []string{"rows.jsonl", "damaged Parquet file"}},
		"cut Parquet":    {chat, "PAR1 not really", []string{"rows.jsonl", "damaged Parquet file: cut"}},
		"short Parquet":  {chat, "PAR1", []string{"rows.jsonl", "damaged Parquet file: too short"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := errorOf(t, c.data, write(t, "rows.jsonl", []byte(c.text)))
			for _, want := range c.want {
				assert.Contains(t, got, want)
			}
		})
	}
}

func TestWrongParquet(t *testing.T) {
	got := errorOf(t, datasets.DatasetFor(datasets.QA), testdata.Path("parquet", "cnn_dailymail.parquet"))
	assert.Contains(t, got, `cnn_dailymail.parquet: row 1 is not a row of mandarjoshi/trivia_qa`)
	assert.Contains(t, got, `no field "question"; it has: article, highlights, id`)
}

func TestCutGzip(t *testing.T) {
	data := zipped(t, []byte(chatRows(numbered(2000)...)))
	got := errorOf(t, datasets.DatasetFor(datasets.Chat), write(t, "rows.jsonl.gz", data[:len(data)/2]))
	assert.Contains(t, got, "unexpected EOF")
}

func TestOpen(t *testing.T) {
	d := datasets.DatasetFor(datasets.Chat)
	_, err := d.Open()
	assert.ErrorContains(t, err, "no files")
	_, err = d.Open("no-such-file.jsonl")
	assert.ErrorIs(t, err, os.ErrNotExist)
	_, err = d.Open(t.TempDir())
	assert.Error(t, err)
	src, err := d.Open(write(t, "rows.jsonl", nil))
	require.NoError(t, err)
	assert.Equal(t, []datasets.SourceFile{{Name: "rows.jsonl", SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}, src.Files)
	for range src.Rows() {
		t.Error("an empty file has a row")
	}
}

// Ending the loop early, or a panic in it, is the caller's own affair.
func TestStopReading(t *testing.T) {
	d := datasets.DatasetFor(datasets.Chat)
	for _, path := range []string{authored(d), testdata.Path("parquet", d.Name+".parquet")} {
		src, err := d.Open(path)
		require.NoError(t, err)
		n := 0
		for range src.Rows() {
			if n++; n == 2 {
				break
			}
		}
		assert.Equal(t, 2, n)
		assert.PanicsWithValue(t, "mine", func() {
			for range src.Rows() {
				panic("mine")
			}
		})
	}
}

// Every row of the public datasets' samples is read, and its rule finds a text.
func TestRealRows(t *testing.T) {
	for _, c := range []struct {
		task    datasets.Task
		file    []string
		rows    int
		dropped map[string]int
	}{
		{datasets.Chat, []string{"oasst1", "messages.jsonl"}, 119, map[string]int{"not an opening prompt": 107}},
		{datasets.Chat, []string{"oasst1", "root_prompts.jsonl"}, 80, nil},
		{datasets.Summarization, []string{"cnn_dailymail", "3.0.0_validation.jsonl"}, 200, nil},
		{datasets.QA, []string{"trivia_qa", "rc_nocontext_validation.jsonl"}, 200, nil},
		{datasets.QA, []string{"trivia_qa", "full_schema_row.jsonl"}, 1, nil},
		{datasets.Code, []string{"openai_humaneval", "HumanEval.jsonl"}, 100, nil},
	} {
		t.Run(strings.Join(c.file, "/"), func(t *testing.T) {
			path := testdata.Shared(t, append([]string{"data"}, c.file...)...)
			rows := rowsOf(t, datasets.DatasetFor(c.task), path)
			assert.Len(t, rows, c.rows)
			dropped := map[string]int{}
			for _, row := range rows {
				if row.Drop != "" {
					dropped[row.Drop]++
				} else {
					assert.NotEmpty(t, row.Text, row.Where)
				}
			}
			if c.dropped == nil {
				c.dropped = map[string]int{}
			}
			assert.Equal(t, c.dropped, dropped)
		})
	}
}

// FuzzRows feeds every loader foreign bytes: there is an error or rows with an
// id, never a panic.
func FuzzRows(f *testing.F) {
	for _, d := range datasets.Datasets() {
		data, err := os.ReadFile(authored(d))
		if err != nil {
			f.Fatal(err)
		}
		first, _, _ := bytes.Cut(data, []byte("\n"))
		f.Add(first)
	}
	f.Add([]byte(`{"task_id":"1","prompt":"def f(a:\n\"\"\"","entry_point":"f"}`))
	f.Add([]byte("\x1f\x8b"))
	f.Add([]byte("PAR1PAR1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := write(t, "rows", data)
		for _, d := range datasets.Datasets() {
			src, err := d.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			for row, err := range src.Rows() {
				if err == nil && (row.ID == "" || row.Where == "") {
					t.Fatalf("%s: row %+v", d.Name, row)
				}
			}
		}
	})
}

// FuzzParquet does the same with what begins and ends like a Parquet file.
func FuzzParquet(f *testing.F) {
	for _, d := range datasets.Datasets() {
		data, err := os.ReadFile(testdata.Path("parquet", d.Name+".parquet"))
		if err != nil {
			f.Fatal(err)
		}
		if len(data) < 16<<10 {
			f.Add(data[4 : len(data)-4])
		}
	}
	d := datasets.DatasetFor(datasets.Code)
	f.Fuzz(func(t *testing.T, data []byte) {
		src, err := d.Open(write(t, "rows.parquet", slices.Concat([]byte("PAR1"), data, []byte("PAR1"))))
		if err != nil {
			t.Fatal(err)
		}
		for row, err := range src.Rows() {
			if err == nil && row.ID == "" {
				t.Fatalf("row %+v", row)
			}
		}
	})
}
