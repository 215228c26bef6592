package results

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestNewEnvironment(t *testing.T) {
	t.Setenv("OMP_NUM_THREADS", "2")
	t.Setenv("HF_TOKEN", "hf_abcdefghijklmnopqrstuvwx")
	e := NewEnvironment(t.Context(), t.TempDir())
	assert.NotEmpty(t, e.Machine.CPU)
	assert.Positive(t, e.Machine.Cores)
	assert.Positive(t, e.MaxProcs)
	assert.NotEmpty(t, e.Go)
	assert.Len(t, e.Suite.Binary, 64)
	assert.Equal(t, "2", e.Suite.Env["OMP_NUM_THREADS"])
	assert.Empty(t, e.Git.Commit)
	assert.Contains(t, strings.Join(e.Warnings, "\n"), "git", "a folder outside any checkout")
	data, err := json.Marshal(e)
	require.NoError(t, err)
	assert.NotContains(t, string(data), "hf_abc")

	again := NewEnvironment(t.Context(), t.TempDir())
	assert.Empty(t, e.differences(&again), "the same process on the same machine")
	var read Environment
	require.NoError(t, json.Unmarshal(data, &read))
	assert.Empty(t, read.differences(&again), "also when it was written and read")
}

func TestDifferences(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Environment)
		want   string
	}{
		"commit":     {func(e *Environment) { e.Git.Commit = "x" }, "commit was 0123456789abcdef, is x"},
		"changes":    {func(e *Environment) { e.Git.Changes = "y" }, "uncommitted changes was not set, is y"},
		"flag":       {func(e *Environment) { e.Suite.Flags["task"] = "chat" }, "flag -task was qa, is chat"},
		"new flag":   {func(e *Environment) { e.Suite.Flags["mode"] = "sync" }, "flag -mode was not set, is sync"},
		"gone flag":  {func(e *Environment) { delete(e.Suite.Flags, "task") }, "flag -task was qa, is not set"},
		"benchtime":  {func(e *Environment) { e.Suite.Flags["test.benchtime"] = "9x" }, "flag -test.benchtime was 4x, is 9x"},
		"variable":   {func(e *Environment) { e.Suite.Env["GOGC"] = "off" }, "variable GOGC was not set, is off"},
		"cores":      {func(e *Environment) { e.Machine.Cores = 64 }, "cores was 2, is 64"},
		"Go":         {func(e *Environment) { e.Go = "go9" }, "Go was not set, is go9"},
		"executable": {func(e *Environment) { e.Suite.Binary = strings.Repeat("a", 64) }, "suite's executable was not set, is aaaaaaaaaaaa"},
		"csv":        {func(e *Environment) { e.Suite.Flags["csv"] = "x.csv" }, ""},
		"resume":     {func(e *Environment) { e.Suite.Flags["resume"] = "false" }, ""},
		"parallel":   {func(e *Environment) { e.Suite.Flags["test.parallel"] = "4" }, "flag -test.parallel was not set, is 4"},
		"timeout":    {func(e *Environment) { e.Suite.Flags["test.timeout"] = "9m" }, ""},
		"load":       {func(e *Environment) { e.Started = time.Now() }, ""},
		"dirty only": {func(e *Environment) { e.Git.Dirty = true }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			e, changed := testEnvironment(), testEnvironment()
			e.Format = format
			test.change(&changed)
			assert.Equal(t, test.want, strings.Join(e.differences(&changed), "; "))
		})
	}
	e, other := testEnvironment(), testEnvironment()
	e.Format = format
	e.Servers = []Server{{Framework: "custom", Model: "gpt2", Seed: 1}, {Framework: "vllm", Model: "gpt2"}}
	e.Datasets = []File{{"chat", 1, "a"}}
	other.Servers = []Server{{Framework: "custom", Model: "gpt2", Seed: 2}, {Framework: "tgi", Model: "gpt2"}}
	other.Datasets = []File{{"chat", 1, "b"}}
	assert.Equal(t, []string{"seed was 1, is 2", "prompts chat was a, is b"}, e.differences(&other))
}

func TestSetFlags(t *testing.T) {
	fs := flag.NewFlagSet("x", flag.ContinueOnError)
	fs.String("task", "", "")
	fs.String("model", "gpt2", "")
	fs.String("hf-token", "", "")
	fs.String("serve-args", "", "")
	require.NoError(t, fs.Parse([]string{"-task", "qa", "-hf-token", "hush", "-serve-args", "--threads 2 --api-key hush"}))
	assert.Equal(t, map[string]string{"task": "qa", "hf-token": struckOut, "serve-args": "--threads 2 --api-key " + struckOut}, setFlags(fs))
}

func TestRedact(t *testing.T) {
	check := func(in, want string) {
		t.Helper()
		args := strings.Split(in, " ")
		assert.Equal(t, want, strings.Join(redactArgs(args), " "))
		assert.Equal(t, in, strings.Join(args, " "), "the caller's slice is left alone")
	}
	for _, plain := range []string{
		"bin/serve --model openai-community/gpt2 --max-num-batched-tokens 2048 --tokenizer gpt2 --port=8000",
		"--max-tokens=10 --url http://127.0.0.1:8000/v1", "-v --key",
		"--api-key --verbose",
	} {
		check(plain, plain)
	}
	check("serve --api-key hush --port 1", "serve --api-key REDACTED --port 1")
	check("serve --api-key=hush", "serve --api-key=REDACTED")
	check("docker run -e HF_TOKEN=hush image", "docker run -e HF_TOKEN=REDACTED image")
	check("--hf-token hf_abcdefghijklmnopqrst", "--hf-token REDACTED")
	check("--x hf_abcdefghijklmnopqrst", "--x REDACTED")
	check("--env=X=hf_abcdefghijklmnopqrst", "--env=X=REDACTED")
	check("--url http://me:hush@host/v1", "--url http://REDACTED@host/v1")
	assert.Equal(t, "Authorization: REDACTED", redactText("Authorization: Bearer abc"))
	assert.Nil(t, redactArgs(nil))
}

func TestGitState(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED, not tested here: the git command is missing")
	}
	dir := t.TempDir()
	sh := func(args ...string) {
		t.Helper()
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.com"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
	}
	write := func(name, text string) {
		t.Helper()
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	state := func() Git {
		t.Helper()
		g, err := gitState(t.Context(), dir)
		require.NoError(t, err)
		return g
	}
	sh("init", "-q")
	_, err := gitState(t.Context(), dir)
	require.Error(t, err, "no commit yet")
	write("a.go", "package a\n")
	sh("add", ".")
	sh("commit", "-q", "-m", "first")
	clean := state()
	assert.Regexp(t, "^[0-9a-f]{40}$", clean.Commit)
	assert.Equal(t, Git{Commit: clean.Commit}, clean)

	write("out.csv", "x")
	assert.Equal(t, Git{Commit: clean.Commit, Dirty: true}, state(), "an untracked file")

	write("a.go", "package b\n")
	changed := state()
	assert.True(t, changed.Dirty)
	assert.Len(t, changed.Changes, 64)
	write("a.go", "package c\n")
	assert.NotEqual(t, changed.Changes, state().Changes)
	sh("add", "a.go")
	write("a.go", "package b\n")
	assert.Equal(t, changed.Changes, state().Changes, "what is staged does not matter")
}

func TestDigest(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		p := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(p), 0o755))
		require.NoError(t, os.WriteFile(p, []byte(text), 0o644))
		return p
	}
	sum := func(s string) string {
		h := sha256.Sum256([]byte(s))
		return hex.EncodeToString(h[:])
	}
	first := write("m/model-00001-of-00002.safetensors", "one")
	write("m/model-00002-of-00002.safetensors", "two")
	write("m/model.gguf", "gguf")
	write("m/config.json", "{}")
	d, err := DigestWeights(filepath.Join(dir, "m"))
	require.NoError(t, err)
	assert.Equal(t, []File{
		{"model-00001-of-00002.safetensors", 3, sum("one")},
		{"model-00002-of-00002.safetensors", 3, sum("two")},
	}, d.Files)
	assert.Equal(t, sum(fmt.Sprintf("%s  model-00001-of-00002.safetensors\n%s  model-00002-of-00002.safetensors\n", sum("one"), sum("two"))), d.SHA256)
	if _, err := exec.LookPath("sha256sum"); err == nil {
		cmd := exec.Command("sh", "-c", "LC_ALL=C sha256sum *.safetensors | sha256sum")
		cmd.Dir = filepath.Join(dir, "m")
		out, err := cmd.Output()
		require.NoError(t, err)
		assert.Equal(t, d.SHA256, strings.Fields(string(out))[0], "the command in Digest's comment gives the same")
	}

	// The cache is used, and not when the file has changed.
	data, err := os.ReadFile(hashes.file())
	require.NoError(t, err)
	require.Contains(t, string(data), sum("one"))
	require.NoError(t, os.WriteFile(hashes.file(), []byte(strings.ReplaceAll(string(data), sum("one"), sum("cached"))), 0o644))
	d, err = DigestFiles(first)
	require.NoError(t, err)
	assert.Equal(t, sum("cached"), d.Files[0].SHA256)
	require.NoError(t, os.WriteFile(first, []byte("changed"), 0o644))
	d, err = DigestFiles(first)
	require.NoError(t, err)
	assert.Equal(t, sum("changed"), d.Files[0].SHA256)
	require.NoError(t, os.WriteFile(hashes.file(), []byte("not JSON"), 0o644))
	d, err = DigestFiles(first)
	require.NoError(t, err)
	assert.Equal(t, sum("changed"), d.Files[0].SHA256)

	// A single file, and a blob of a hub cache, which is named by its hash.
	d, err = DigestWeights(filepath.Join(dir, "m", "model.gguf"))
	require.NoError(t, err)
	assert.Equal(t, []File{{"model.gguf", 4, sum("gguf")}}, d.Files)
	blob := write("hub/blobs/"+sum("the name counts"), "large")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "hub/snapshots/abc"), 0o755))
	link := filepath.Join(dir, "hub/snapshots/abc/model.safetensors")
	require.NoError(t, os.Symlink(blob, link))
	d, err = DigestWeights(filepath.Dir(link))
	require.NoError(t, err)
	assert.Equal(t, []File{{"model.safetensors", 5, sum("the name counts")}}, d.Files)

	_, err = DigestWeights(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = DigestWeights(filepath.Join(dir, "hub"))
	require.ErrorIs(t, err, ErrNoWeights)
	_, err = DigestFiles(first, filepath.Join(dir, "m", "..", "m", filepath.Base(first)))
	require.ErrorContains(t, err, "two files")
	_, err = DigestFiles(dir)
	require.ErrorContains(t, err, "not a regular file")
	d, err = DigestFiles()
	require.NoError(t, err)
	assert.Zero(t, d)
}
