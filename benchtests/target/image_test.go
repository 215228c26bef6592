package target

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
)

// TestImages holds that every image is pinned, that what is built is there to be
// built from, and that what a container needs is said.
func TestImages(t *testing.T) {
	root, err := datasets.ModuleRoot()
	require.NoError(t, err)
	pinned := regexp.MustCompile(`^[a-z0-9./-]+:[\w.-]*\d[\w.-]*$`)
	for _, target := range All() {
		if target.Remote {
			assert.Nil(t, target.Image)
			continue
		}
		i := target.Image
		require.NotNil(t, i, target.Name)
		for _, gpu := range []bool{true, false} {
			ref, err := i.Ref(gpu)
			if err != nil {
				assert.ErrorContains(t, err, "-launch process")
				continue
			}
			if i.Build == nil {
				assert.Regexp(t, pinned, ref, target.Name)
				assert.Empty(t, i.Dockerfile(gpu))
			} else if file := i.Dockerfile(gpu); strings.HasPrefix(file, "benchtests/") {
				assert.FileExists(t, filepath.Join(root, file))
			}
		}
		assert.Positive(t, i.Port, target.Name)
		assert.True(t, path.IsAbs(i.Models), target.Name)
		for _, v := range envOf(i) {
			assert.Regexp(t, `^[A-Z0-9_]+=`, v)
			assert.NotContains(t, v, "TOKEN", "no secret")
		}
	}
	_, err = sglang.Image.Ref(false)
	assert.ErrorContains(t, err, "without a GPU")
}

func envOf(i *Image) []string {
	if i.Env == nil {
		return nil
	}
	return i.Env(conf())
}

// TestInside holds what of a model a container sees.
func TestInside(t *testing.T) {
	i := &Image{Port: 80, Models: "/models"}
	check := func(model, want string, mounts ...Mount) {
		t.Helper()
		c := conf()
		c.Model = model
		got, seen, err := i.Inside(c)
		require.NoError(t, err)
		assert.Equal(t, want, got.Model)
		assert.Equal(t, mounts, seen)
		assert.Equal(t, []any{AnyHost, 80, "/tmp"}, []any{got.Host, got.Port, got.Dir})
		assert.Equal(t, c.Model, model, "the caller's config is its own")
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	write := func(parts ...string) string {
		t.Helper()
		file := filepath.Join(append([]string{dir}, parts...)...)
		require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o755))
		require.NoError(t, os.WriteFile(file, nil, 0o644))
		return file
	}
	link := func(old, new string) {
		t.Helper()
		require.NoError(t, os.MkdirAll(filepath.Dir(new), 0o755))
		require.NoError(t, os.Symlink(old, new))
	}
	check("org/name", "org/name") // a hub id
	gguf := write("m", "model.gguf")
	check(gguf, "/models/model.gguf", Mount{gguf, "/models/model.gguf"})
	check(filepath.Dir(gguf), "/models", Mount{filepath.Dir(gguf), "/models"})

	// The hub cache's folders are links to blobs, relative ones.
	blob, snapshot := write("blobs", "1f"), filepath.Join(dir, "snapshots", "main")
	link("../../blobs/1f", filepath.Join(snapshot, "config.json"))
	link("../../../blobs/1f", filepath.Join(snapshot, "sub", "weights"))
	check(snapshot, "/models", Mount{blob, "/models/config.json"}, Mount{blob, "/models/sub/weights"})
	link("snapshots/main/config.json", filepath.Join(dir, "link.gguf"))
	check(filepath.Join(dir, "link.gguf"), "/models/link.gguf", Mount{blob, "/models/link.gguf"})

	link("nowhere", filepath.Join(snapshot, "broken"))
	c := conf()
	c.Model = snapshot
	_, _, err = i.Inside(c)
	assert.ErrorContains(t, err, "what a container sees of")
}

// TestInsideTGI has the copy that TGI is served: its links lead out of it.
func TestInsideTGI(t *testing.T) {
	src := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(src, "model.safetensors"), nil, 0o644))
	c := Config{Model: src, Served: "m", Dir: t.TempDir(), IgnoreEOS: true}
	require.NoError(t, tgi.Prepare(&c))
	got, mounts, err := tgi.Image.Inside(c)
	require.NoError(t, err)
	assert.Equal(t, "/model", got.Model)
	real, err := filepath.EvalSymlinks(filepath.Join(src, "model.safetensors"))
	require.NoError(t, err)
	assert.Contains(t, mounts, Mount{real, "/model/model.safetensors"})
	assert.Len(t, mounts, 4, "three that were changed, and the weights")
	assert.Contains(t, tgi.Image.Env(got), "HF_HUB_OFFLINE=1")
	assert.Contains(t, transformers.Image.Env(got), "HF_HUB_OFFLINE=1")
	assert.NotContains(t, tgi.Image.Env(Config{Model: "org/name"}), "HF_HUB_OFFLINE=1")
}
