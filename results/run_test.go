package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results/machine"
)

func testEnvironment() Environment {
	return Environment{
		Machine: machine.Machine{CPU: "Some CPU @ 2.0GHz", Cores: 2},
		Git:     Git{Commit: "0123456789abcdef"},
		Suite:   Suite{Flags: map[string]string{"task": "qa", "test.benchtime": "4x"}, Env: map[string]string{}},
	}
}

func create(t *testing.T, root string, o RunOptions) *Run {
	t.Helper()
	if o.Environment.Git.Commit == "" {
		o.Environment = testEnvironment()
	}
	r, err := Create(root, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func reopen(t *testing.T, dir string) *Run {
	t.Helper()
	r, err := Open(dir, RunOptions{Environment: testEnvironment()})
	require.NoError(t, err)
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// fill adds a pass for each of n cases and returns the cases.
func fill(t *testing.T, r *Run, seed uint64, n int) []Case {
	t.Helper()
	rng := rand.New(rand.NewPCG(seed, 0))
	var cases []Case
	for i := range n {
		c := Case{"custom", "gpt2", []string{"chat", "qa", "code"}[i%3], []string{ModeSync, ModeStream}[i/3%2], 1 + i/6}
		_, err := r.Add(randomPass(rng, c, 0, 20), Options{Began: time.Unix(1e9, 0), Usage: Usage{PeakRSS: 1 << 28, ServerCPU: time.Second}})
		require.NoError(t, err)
		cases = append(cases, c)
	}
	return cases
}

func content(t *testing.T, r *Run, name string) string {
	t.Helper()
	data, err := os.ReadFile(r.path(name))
	require.NoError(t, err)
	return string(data)
}

func recomputed(t *testing.T, dir string) string {
	t.Helper()
	f, err := Load(dir)
	require.NoError(t, err)
	var rows []*Summary
	for s, err := range f.Summaries() {
		require.NoError(t, err)
		rows = append(rows, s)
	}
	var b bytes.Buffer
	require.NoError(t, WriteCSV(&b, true, rows...))
	return b.String()
}

func TestRunFolder(t *testing.T) {
	root := filepath.Join(t.TempDir(), "runs")
	r := create(t, root, RunOptions{})
	target, err := os.Readlink(filepath.Join(root, Latest))
	require.NoError(t, err)
	assert.Equal(t, filepath.Base(r.Dir()), target, "latest is relative")
	assert.Regexp(t, `^\d{8}T\d{6}Z-[0-9a-f]{6}$`, target)

	cases := fill(t, r, 1, 6)
	same(t, content(t, r, FileCSV), recomputed(t, r.Dir()), "results.csv from the raw records")
	assert.Equal(t, 7, strings.Count(content(t, r, FileCSV), "\n"))
	assert.Equal(t, 6, strings.Count(content(t, r, FileBench), "\nBenchmarkServe/"))
	assert.Equal(t, 120, strings.Count(content(t, r, FileRequests), "\n"))
	assert.Len(t, slices.Collect(r.Finished()), 6)
	s, ok := r.Done(cases[2], 0)
	require.True(t, ok)
	assert.Equal(t, cases[2], s.Case)
	_, ok = r.Done(cases[2], 1)
	assert.False(t, ok)

	// A second run is another folder, and latest follows it.
	r2 := create(t, root, RunOptions{Name: "mine"})
	target, err = os.Readlink(filepath.Join(root, Latest))
	require.NoError(t, err)
	assert.Equal(t, "mine", target)
	assert.NotEqual(t, r.Dir(), r2.Dir())
	left, err := filepath.Glob(filepath.Join(root, ".*"))
	require.NoError(t, err)
	assert.Empty(t, left, "no temporary names are left")
}

func TestRunRefuses(t *testing.T) {
	root := t.TempDir()
	r := create(t, root, RunOptions{Name: "a"})
	for _, name := range []string{"a", Latest, "../b", ".b", "x/y"} {
		_, err := Create(root, RunOptions{Name: name})
		assert.Error(t, err, name)
	}
	before := content(t, r, FileRequests)

	good := stream(0, 100*ms, 110*ms)
	bad := good
	bad.Chunks = nil
	other := good
	other.Repeat = 1
	for name, reqs := range map[string][]Request{"none": nil, "bad": {good, bad}, "two passes": {good, other}} {
		_, err := r.Add(reqs, Options{})
		assert.Error(t, err, name)
	}
	same(t, before, content(t, r, FileRequests), "requests")
	_, err := r.Add([]Request{good}, Options{})
	require.NoError(t, err)
	_, err = r.Add([]Request{good}, Options{})
	require.ErrorContains(t, err, "added before")

	require.NoError(t, r.Close())
	_, err = r.Add([]Request{other}, Options{})
	require.ErrorIs(t, err, errClosed)
	require.ErrorIs(t, r.Complete(), errClosed)

	// A folder in latest's place is nobody's to replace.
	root = t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(root, Latest), 0o755))
	_, err = Create(root, RunOptions{})
	require.ErrorContains(t, err, "move it away")
}

// A case in which all requests failed has a row, and no line that could be
// taken for a result.
func TestRunAllFailed(t *testing.T) {
	r := create(t, t.TempDir(), RunOptions{})
	s, err := r.Add([]Request{{Case: streamCase, Error: ClassConnect, Detail: "refused"}}, Options{})
	require.NoError(t, err)
	assert.Equal(t, s.Requests, s.Failed)
	assert.Equal(t, "connect: refused", s.First)
	assert.NotContains(t, content(t, r, FileBench), "BenchmarkServe")
	assert.Contains(t, content(t, r, FileCSV), "custom,gpt2,chat,stream,4,0,1,1,connect:1,")
	same(t, content(t, r, FileCSV), recomputed(t, r.Dir()), "results.csv from the raw records")
}

func TestRunResume(t *testing.T) {
	root := t.TempDir()
	resume := func(env Environment) (*Run, string) {
		t.Helper()
		r, why, err := Resume(root, RunOptions{Environment: env})
		require.NoError(t, err)
		t.Cleanup(func() { _ = r.Close() })
		return r, why
	}
	first, why := resume(testEnvironment())
	assert.Contains(t, why, "none to go on with")
	cases := fill(t, first, 1, 3)
	want, _ := first.Done(cases[1], 0)

	// Still being written: somebody else gets a run of their own.
	other, why := resume(testEnvironment())
	assert.Contains(t, why, ErrLocked.Error())
	require.NoError(t, other.Close())
	require.NoError(t, os.RemoveAll(other.Dir()))
	require.NoError(t, pointLatest(root, filepath.Base(first.Dir())))
	require.NoError(t, first.Close())

	second, why := resume(testEnvironment())
	assert.Contains(t, why, "3 finished cases")
	assert.Equal(t, first.Dir(), second.Dir())
	got, ok := second.Done(cases[1], 0)
	require.True(t, ok)
	assert.Equal(t, want.Values(), got.Values(), "a resumed case is told as it was measured")
	assert.Len(t, second.env.Resumed, 1)
	_, err := second.Add([]Request{stream(0, 100*ms, 110*ms)}, Options{})
	require.NoError(t, err)
	require.NoError(t, second.Complete())
	require.NoError(t, second.Close())
	same(t, content(t, second, FileCSV), recomputed(t, second.Dir()), "results.csv from the raw records")

	third, why := resume(testEnvironment())
	assert.Contains(t, why, "complete")
	assert.NotEqual(t, second.Dir(), third.Dir())
	require.NoError(t, third.Close())

	changed := testEnvironment()
	changed.Git.Commit = "fedcba9876543210"
	fourth, why := resume(changed)
	assert.Contains(t, why, "commit was 0123456789abcdef, is fedcba9876543210")
	assert.NotEqual(t, third.Dir(), fourth.Dir())
	require.NoError(t, fourth.Close())
	_, err = Open(fourth.Dir(), RunOptions{Environment: testEnvironment()})
	require.ErrorIs(t, err, ErrMismatch)

	// A complete run that is opened by name is not complete any more.
	again := reopen(t, second.Dir())
	assert.Len(t, slices.Collect(again.Finished()), 4)
	require.NoError(t, again.Close())
	require.NoError(t, pointLatest(root, filepath.Base(second.Dir())))
	_, why = resume(testEnvironment())
	assert.Contains(t, why, "4 finished cases")
}

// Wherever a kill cuts the writing of a pass, the finished ones stay, the
// readers can read them, and going on gives a whole folder.
func TestRunCrash(t *testing.T) {
	root := t.TempDir()
	r := create(t, root, RunOptions{Name: "whole"})
	fill(t, r, 1, 2)
	before := snapshot(t, r)
	rng := rand.New(rand.NewPCG(9, 9))
	last := randomPass(rng, Case{"custom", "gpt2", "summarization", ModeStream, 4}, 0, 5)
	_, err := r.Add(last, Options{})
	require.NoError(t, err)
	after := snapshot(t, r)
	require.NoError(t, r.Close())

	order := []string{FileRequests, FileCSV, FileBench, FileJournal}
	for stage, name := range order {
		for _, share := range []float64{0.01, 0.5, 0.999} {
			dir := filepath.Join(root, strings.ReplaceAll(name, ".", "-"), time.Duration(share*1e9).String())
			require.NoError(t, os.MkdirAll(dir, 0o755))
			files := map[string]string{FileEnvironment: after[FileEnvironment]}
			for i, f := range order {
				switch b, a := before[f], after[f]; {
				case i < stage:
					files[f] = a
				case i == stage:
					files[f] = a[:len(b)+max(1, int(share*float64(len(a)-len(b))))]
				default:
					files[f] = b
				}
			}
			for f, text := range files {
				require.NoError(t, os.WriteFile(filepath.Join(dir, f), []byte(text), 0o644))
			}
			same(t, before[FileCSV], recomputed(t, dir), "reading after a cut in %s", name)
			f, err := Load(dir)
			require.NoError(t, err)
			assert.False(t, f.Complete())
			if name != FileRequests || share > 0.01 {
				assert.NotEmpty(t, f.Warnings())
			}
			rows, err := f.Open(FileCSV)
			require.NoError(t, err)
			text, err := io.ReadAll(rows)
			require.NoError(t, err)
			require.NoError(t, rows.Close())
			same(t, before[FileCSV], string(text), "the finished part after a cut in %s", name)
			again := reopen(t, dir)
			for _, f := range order[:3] {
				same(t, before[f], content(t, again, f), "%s after a cut in %s", f, name)
			}
			_, err = again.Add(last, Options{})
			require.NoError(t, err)
			require.NoError(t, again.Complete())
			for _, f := range order[:3] {
				same(t, after[f], content(t, again, f), "%s after going on", f)
			}
		}
	}
}

// same compares long texts without printing them whole.
func same(t *testing.T, want, got, format string, args ...any) {
	t.Helper()
	if want == got {
		return
	}
	i := 0
	for i < min(len(want), len(got)) && want[i] == got[i] {
		i++
	}
	around := func(s string) string { return s[max(0, i-40):min(len(s), i+40)] }
	t.Errorf("%s: lengths %d and %d, first difference at %d: want …%q…, got …%q…",
		fmt.Sprintf(format, args...), len(want), len(got), i, around(want), around(got))
}

func snapshot(t *testing.T, r *Run) map[string]string {
	t.Helper()
	m := make(map[string]string)
	for _, name := range []string{FileRequests, FileCSV, FileBench, FileJournal, FileEnvironment} {
		m[name] = content(t, r, name)
	}
	return m
}

// What was changed by hand is refused, not gone on with.
func TestRunTampered(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, r *Run){
		"requests shorter":    func(t *testing.T, r *Run) { require.NoError(t, os.Truncate(r.path(FileRequests), 10)) },
		"requests gone":       func(t *testing.T, r *Run) { require.NoError(t, os.Remove(r.path(FileRequests))) },
		"journal empty":       func(t *testing.T, r *Run) { require.NoError(t, os.Truncate(r.path(FileJournal), 0)) },
		"journal of tomorrow": func(t *testing.T, r *Run) { replace(t, r, FileJournal, `"format":1`, `"format":2`) },
		"journal not JSON":    func(t *testing.T, r *Run) { replace(t, r, FileJournal, `"pass":`, `"pass"`) },
		"another case":        func(t *testing.T, r *Run) { replace(t, r, FileJournal, `"parallel":1`, `"parallel":7`) },
		"negative size":       func(t *testing.T, r *Run) { replace(t, r, FileJournal, `"bench.txt":`, `"bench.txt":-`) },
		"bad record":          func(t *testing.T, r *Run) { replace(t, r, FileRequests, `"sent":1`, `"sent":9`) },
		"environment":         func(t *testing.T, r *Run) { replace(t, r, FileEnvironment, `{`, `[`) },
	} {
		t.Run(name, func(t *testing.T) {
			r := create(t, t.TempDir(), RunOptions{})
			fill(t, r, 1, 1)
			require.NoError(t, r.Close())
			spoil(t, r)
			_, err := Open(r.Dir(), RunOptions{Environment: testEnvironment()})
			require.Error(t, err)
			assert.NotErrorIs(t, err, ErrMismatch)
			// Resume does not insist: it begins a new run and says why.
			fresh, why, err := Resume(filepath.Dir(r.Dir()), RunOptions{Environment: testEnvironment()})
			require.NoError(t, err)
			assert.Contains(t, why, "cannot go on")
			require.NoError(t, fresh.Close())
		})
	}
}

func replace(t *testing.T, r *Run, name, from, to string) {
	t.Helper()
	text := content(t, r, name)
	require.Contains(t, text, from)
	require.NoError(t, os.WriteFile(r.path(name), []byte(strings.ReplaceAll(text, from, to)), 0o644))
}

// A write that fails leaves the folder as it was before the pass.
func TestRunRollback(t *testing.T) {
	r := create(t, t.TempDir(), RunOptions{})
	fill(t, r, 1, 2)
	before := snapshot(t, r)
	journal := r.files[FileJournal]
	readOnly, err := os.Open(r.path(FileJournal))
	require.NoError(t, err)
	defer readOnly.Close()
	r.files[FileJournal] = &appendFile{f: readOnly, size: journal.size}
	_, err = r.Add([]Request{stream(0, 100*ms, 110*ms)}, Options{})
	require.Error(t, err)
	r.files[FileJournal] = journal
	for name, text := range snapshot(t, r) {
		same(t, before[name], text, "%s after a failed write", name)
	}
	_, ok := r.Done(streamCase, 0)
	assert.False(t, ok)
	_, err = r.Add([]Request{stream(0, 100*ms, 110*ms)}, Options{})
	require.NoError(t, err)
	same(t, content(t, r, FileCSV), recomputed(t, r.Dir()), "results.csv from the raw records")
}

func TestRunCSVCopy(t *testing.T) {
	dir := t.TempDir()
	dst := filepath.Join(dir, "copy.csv")
	r := create(t, dir, RunOptions{CSV: dst})
	for i := range 2 {
		req := stream(0, 100*ms, 110*ms)
		req.Repeat = i
		_, err := r.Add([]Request{req}, Options{Dummy: true, Notes: []string{"a note,\nwith \"all\" in it"}})
		require.NoError(t, err)
		data, err := os.ReadFile(dst)
		require.NoError(t, err)
		assert.Equal(t, content(t, r, FileCSV), string(data))
		assert.Equal(t, i+2, strings.Count(string(data), "\n"), "a row is a line")
	}
	require.NoError(t, r.Close())

	_, err := Create(dir, RunOptions{CSV: filepath.Join(dir, "missing", "x.csv")})
	require.ErrorContains(t, err, "copy of results.csv", "before anything is measured")

	gone := filepath.Join(t.TempDir(), "gone")
	require.NoError(t, os.Mkdir(gone, 0o755))
	r = create(t, dir, RunOptions{CSV: filepath.Join(gone, "x.csv")})
	require.NoError(t, os.RemoveAll(gone))
	_, err = r.Add([]Request{stream(0, 100*ms, 110*ms)}, Options{})
	require.ErrorContains(t, err, "copy of results.csv")
	_, ok := r.Done(streamCase, 0)
	assert.True(t, ok, "the run itself has it")
}

func TestRunEnvironment(t *testing.T) {
	r := create(t, t.TempDir(), RunOptions{})
	s := Server{Framework: "custom", Model: "gpt2", Command: []string{"bin/serve", "--model", "gpt2", "--port", "8001", "--api-key", "hush"}, URL: "http://me:hush@host", Weights: Digest{SHA256: "aa"}}
	require.NoError(t, r.AddServer(s))
	s.Command[4] = "8002" // another free port
	require.NoError(t, r.AddServer(s))
	require.NoError(t, r.AddDataset(File{"chat.jsonl", 10, "bb"}))
	require.NoError(t, r.AddDataset(File{"chat.jsonl", 10, "bb"}))
	assert.NotContains(t, content(t, r, FileEnvironment), "hush")

	var env Environment
	require.NoError(t, json.Unmarshal([]byte(content(t, r, FileEnvironment)), &env))
	assert.Equal(t, r.env, env)
	require.Len(t, env.Servers, 1)
	require.Len(t, env.Datasets, 1)

	changed := s
	changed.Weights.SHA256 = "cc"
	require.ErrorIs(t, r.AddServer(changed), ErrMismatch)
	require.ErrorIs(t, r.AddDataset(File{"chat.jsonl", 10, "dd"}), ErrMismatch)
	require.NoError(t, r.Close())

	r = reopen(t, r.Dir())
	require.NoError(t, r.AddServer(s), "the same after the run was opened again")
	require.ErrorIs(t, r.AddServer(changed), ErrMismatch)
	changed.Model = "phi-2"
	require.NoError(t, r.AddServer(changed))
}

func FuzzReadJournal(f *testing.F) {
	f.Add([]byte(`{"format":1,"sizes":{"bench.txt":3}}` + "\n"))
	f.Add([]byte(`{"format":1,"sizes":{}}` + "\n" + `{"pass":{"case":{"mode":"sync"},"repeat":0,"requests":1,"start":"sent"},"sizes":{"bench.txt":9}}` + "\n{"))
	f.Fuzz(func(t *testing.T, data []byte) {
		j, err := readJournal(bytes.NewReader(data))
		if err == nil && (j.size < 1 || j.size > int64(len(data))) {
			t.Errorf("size %d of %d", j.size, len(data))
		}
		if errors.Is(err, ErrCut) {
			t.Error("a cut is no error of a journal")
		}
	})
}
