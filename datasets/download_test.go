package datasets_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/datasets/hub"
	"servebench/testdata"
)

// hubOf serves repositories' files on loopback as the hub does.
func hubOf(t *testing.T, repos map[string]map[string][]byte) *hub.Client {
	t.Helper()
	const commit = "0123456789abcdef0123456789abcdef01234567"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.Path, "/api")
		for id, files := range repos {
			rest, ok := strings.CutPrefix(path, "/datasets/"+id+"/")
			if !ok {
				continue
			}
			if path != r.URL.Path {
				type sibling struct {
					Name string `json:"rfilename"`
				}
				list := []sibling{{"README.md"}}
				for name := range files {
					list = append(list, sibling{name})
				}
				assert.NoError(t, json.NewEncoder(w).Encode(map[string]any{"sha": commit, "siblings": list}))
				return
			}
			if body, ok := files[strings.TrimPrefix(rest, "resolve/"+commit+"/")]; ok {
				w.Header().Set("X-Repo-Commit", commit)
				w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(body)))
				http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(body)))
				return
			}
		}
		http.NotFound(w, r)
	}))
	t.Cleanup(server.Close)
	return &hub.Client{Endpoint: server.URL, Cache: t.TempDir(), Log: io.Discard}
}

// The files of each dataset are found under the names they have on the hub,
// and only those of the split are taken.
func TestDownload(t *testing.T) {
	on := map[string]string{
		"oasst1":           "data/train-00000-of-00001-b42a775f407cee45.parquet",
		"cnn_dailymail":    "3.0.0/validation-00000-of-00001.parquet",
		"trivia_qa":        "rc.nocontext/validation-00000-of-00001.parquet",
		"openai_humaneval": "openai_humaneval/test-00000-of-00001.parquet",
	}
	for _, d := range datasets.Datasets() {
		t.Run(d.Name, func(t *testing.T) {
			file := testdata.Path("parquet", d.Name+".parquet")
			client := hubOf(t, map[string]map[string][]byte{d.Hub: {
				on[d.Name]:                                read(t, file),
				"other/train-00000-of-00001.parquet":      nil,
				"1.0.0/validation-00000-of-00001.parquet": nil,
			}})
			src, err := d.Download(t.Context(), client, "")
			require.NoError(t, err)
			assert.Equal(t, d.Splits[0], src.Split)
			require.Len(t, src.Files, 1)
			assert.Equal(t, filepath.Base(on[d.Name]), src.Files[0].Name)
			var got []string
			for row, err := range src.Rows() {
				require.NoError(t, err)
				got = append(got, row.ID)
			}
			want := rowsOf(t, d, file)
			require.Len(t, got, len(want))
			for i := range want {
				assert.Equal(t, want[i].ID, got[i])
			}

			// Now from the cache, without the hub.
			client.Offline = true
			again, err := d.Download(t.Context(), client, d.Splits[0])
			require.NoError(t, err)
			assert.Equal(t, src.Files, again.Files)
		})
	}
}

func TestDownloadShards(t *testing.T) {
	d := datasets.DatasetFor(datasets.Summarization)
	body := read(t, testdata.Path("parquet", d.Name+".parquet"))
	shard := func(i int) string { return fmt.Sprintf("3.0.0/train-%05d-of-00003.parquet", i) }
	files := map[string][]byte{shard(2): body, shard(0): body, shard(1): body}
	src, err := d.Download(t.Context(), hubOf(t, map[string]map[string][]byte{d.Hub: files}), "train")
	require.NoError(t, err)
	require.Len(t, src.Files, 3)
	assert.Equal(t, "train-00001-of-00003.parquet", src.Files[1].Name)

	delete(files, shard(1))
	_, err = d.Download(t.Context(), hubOf(t, map[string]map[string][]byte{d.Hub: files}), "train")
	assert.ErrorContains(t, err, "2 files, but train-00000-of-00003.parquet is part 1 of 3")
}

func TestDownloadFails(t *testing.T) {
	d := datasets.DatasetFor(datasets.Code)
	client := hubOf(t, nil)
	_, err := d.Download(t.Context(), client, "dev")
	assert.EqualError(t, err, `unknown split of openai_humaneval "dev": choose from test`)
	_, err = d.Download(t.Context(), client, "")
	assert.ErrorIs(t, err, hub.ErrNotFound)
	assert.ErrorContains(t, err, "-in")
	client.Offline = true
	_, err = d.Download(t.Context(), client, "")
	assert.ErrorIs(t, err, hub.ErrOffline)
}
