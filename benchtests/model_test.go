package benchtests

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/target"
	"servebench/datasets/hub"
	"servebench/results"
)

// cacheModel puts a model into a hub cache.
func cacheModel(t *testing.T, cache, id string) string {
	t.Helper()
	const commit = "0123456789012345678901234567890123456789"
	repo := filepath.Join(cache, "models--"+id)
	dir := filepath.Join(repo, "snapshots", commit)
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(repo, "refs"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(repo, "refs", "main"), []byte(commit), 0o644))
	for _, name := range []string{"config.json", "model.safetensors"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("{}"), 0o644))
	}
	return dir
}

func TestDecide(t *testing.T) {
	wheelOK := func(context.Context) (string, error) { return "/cache/smollm2.gguf", nil }
	wheelFails := func(context.Context) (string, error) { return "", errors.New("pip is not there") }
	check := func(name string, cached []string, wheel func(context.Context) (string, error), want model, told ...string) {
		t.Helper()
		cache := t.TempDir()
		for _, id := range cached {
			cacheModel(t, cache, id)
		}
		var log bytes.Buffer
		f := finder{hub: &hub.Client{Cache: cache, Offline: true, Log: &log}, wheel: wheel, log: &log}
		got, err := f.find(t.Context(), nil)
		require.NoError(t, err, name)
		require.Len(t, got, 1)
		if want.path == "" {
			want.path = got[0].path
			assert.Contains(t, want.path, cache, name)
			assert.Len(t, got[0].revision, 40)
		}
		assert.Equal(t, []any{want.Name, want.path, want.dummy}, []any{got[0].Name, got[0].path, got[0].dummy}, name)
		for _, s := range told {
			assert.Contains(t, log.String(), s, name)
		}
	}
	gpt2, smol := mustModel("gpt2"), mustModel("smollm2-135m-instruct")
	check("gpt2 is cached", []string{"openai-community--gpt2"}, wheelFails, model{Model: gpt2})
	check("smollm2 is cached", []string{"HuggingFaceTB--SmolLM2-135M-Instruct"}, wheelFails, model{Model: smol},
		"attempt 1: gpt2", "offline")
	check("pip has smollm2", nil, wheelOK, model{Model: smol, path: "/cache/smollm2.gguf"}, "attempt 3: smollm2", "Q4_1")
	check("nothing can be had", nil, wheelFails, model{Model: gpt2, path: "openai-community/gpt2", dummy: true},
		"pip is not there", "DUMMY")
}

func TestFindChosen(t *testing.T) {
	cache := t.TempDir()
	var log bytes.Buffer
	f := finder{hub: &hub.Client{Cache: cache, Offline: true, Log: &log}, log: &log,
		wheel: func(context.Context) (string, error) { return "/cache/smollm2.gguf", nil }}
	gpt2, smol := mustModel("gpt2"), mustModel("smollm2-135m-instruct")

	_, err := f.find(t.Context(), []modelChoice{{Model: gpt2}})
	require.ErrorIs(t, err, hub.ErrOffline)
	assert.ErrorContains(t, err, "-model gpt2=PATH")
	assert.ErrorContains(t, err, "-load-format dummy")

	got, err := f.find(t.Context(), []modelChoice{{Model: smol}, {Model: gpt2, path: "/models/gpt2"}})
	require.NoError(t, err)
	assert.Equal(t, "/cache/smollm2.gguf", got[0].path)
	assert.Equal(t, "/models/gpt2", got[1].path)
	assert.False(t, got[0].dummy || got[1].dummy)

	f.dummy = true
	got, err = f.find(t.Context(), []modelChoice{{Model: gpt2}})
	require.NoError(t, err)
	assert.True(t, got[0].dummy)
	var info results.Server
	require.NoError(t, got[0].describe(&info))
	assert.True(t, info.Dummy)
	assert.Zero(t, info.Weights, "noise has no hash")
}

// TestGatedIsTold holds that an answer of the hub is no reason to take another model.
func TestGatedIsTold(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Error-Code", "GatedRepo")
		w.WriteHeader(http.StatusForbidden)
	}))
	defer srv.Close()
	var log bytes.Buffer
	f := finder{hub: &hub.Client{Cache: t.TempDir(), Endpoint: srv.URL, Log: &log}, log: &log}
	_, err := f.find(t.Context(), []modelChoice{{Model: mustModel("smollm2-135m-instruct")}})
	assert.ErrorIs(t, err, hub.ErrGated)
}

func TestWheelFile(t *testing.T) {
	content := []byte("GGUF and so on")
	sum := sha256.Sum256(content)
	file := wheelFile{name: "pkg/model.gguf", size: int64(len(content)), sha256: hex.EncodeToString(sum[:])}
	wheel := func(name string, data []byte) string {
		path := filepath.Join(t.TempDir(), "p.whl")
		out, err := os.Create(path)
		require.NoError(t, err)
		z := zip.NewWriter(out)
		w, err := z.Create(name)
		require.NoError(t, err)
		w.Write(data)
		require.NoError(t, z.Close())
		require.NoError(t, out.Close())
		return path
	}
	to := filepath.Join(t.TempDir(), "model.gguf")
	require.NoError(t, file.extract(wheel(file.name, content), to))
	require.NoError(t, file.check(to))

	assert.ErrorIs(t, file.extract(wheel(file.name, []byte("GGUF and SO on")), to), errNotThatFile)
	assert.ErrorIs(t, file.check(to), errNotThatFile)
	assert.ErrorIs(t, file.extract(wheel(file.name, bytes.Repeat(content, 9)), to), errNotThatFile)
	assert.ErrorIs(t, file.extract(wheel("pkg/other", content), to), os.ErrNotExist)
	assert.ErrorIs(t, file.check(filepath.Join(t.TempDir(), "none")), os.ErrNotExist)
	garbage := filepath.Join(t.TempDir(), "g.whl")
	require.NoError(t, os.WriteFile(garbage, []byte("not a zip"), 0o644))
	assert.ErrorIs(t, file.extract(garbage, to), zip.ErrFormat)
}

// fakePip puts a pip on the PATH that does what a shell script says.
func fakePip(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "python3"), []byte("#!/bin/sh\n"+script), 0o755))
	t.Setenv("PATH", dir)
}

func TestPipDownload(t *testing.T) {
	fakePip(t, `while [ "$1" != --dest ]; do shift; done; echo wheel > "$2/p-1.0.whl"`)
	dir := t.TempDir()
	path, err := pipDownload(t.Context(), "p==1.0", dir)
	require.NoError(t, err)
	assert.Equal(t, filepath.Join(dir, "p-1.0.whl"), path)

	fakePip(t, `echo looking; echo "no matching distribution" >&2; exit 1`)
	_, err = pipDownload(t.Context(), "p==1.0", t.TempDir())
	assert.ErrorContains(t, err, "no matching distribution")

	fakePip(t, `exit 0`)
	_, err = pipDownload(t.Context(), "p==1.0", t.TempDir())
	assert.ErrorContains(t, err, "0 wheels")

	t.Setenv("PATH", t.TempDir())
	_, err = pipDownload(t.Context(), "p==1.0", t.TempDir())
	assert.ErrorContains(t, err, "pip cannot fetch p==1.0")
	assert.ErrorContains(t, err, "executable file not found")
}

// TestFetchWheelRefuses has pip bring another file than the known one.
func TestFetchWheelRefuses(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv("HOME", t.TempDir())
	fakePip(t, `while [ "$1" != --dest ]; do shift; done; echo wheel > "$2/p-1.0.whl"`)
	_, err := FetchSmolLM2(t.Context(), &bytes.Buffer{})
	assert.ErrorContains(t, err, wheelPackage)
	cache, err := os.UserCacheDir()
	require.NoError(t, err)
	left, err := filepath.Glob(filepath.Join(cache, "servebench", wheelFolder, "*"))
	require.NoError(t, err)
	assert.Empty(t, left, "nothing of it stays")
}

func TestDummyWeightsRefused(t *testing.T) {
	llama, err := target.ByName("llamacpp")
	require.NoError(t, err)
	run, err := results.Create(t.TempDir(), results.RunOptions{})
	require.NoError(t, err)
	defer run.Close()
	g := &group{s: &suite{opt: &options{}, run: run}, target: llama, model: &model{Model: mustModel(defaultModel), dummy: true}}
	_, err = g.configure(&results.Server{})
	assert.EqualError(t, err, "llamacpp cannot make random weights")
}
