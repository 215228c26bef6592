package contract

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

// weightsFile writes a safetensors file of one tensor of float32.
func weightsFile(t *testing.T, tensor string, values ...float32) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "model.safetensors")
	head := fmt.Sprintf(`{%q:{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}`, tensor, len(values), 4*len(values))
	data := append(binary.LittleEndian.AppendUint64(nil, uint64(len(head))), head...)
	for _, v := range values {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(v))
	}
	require.NoError(t, os.WriteFile(path, data, 0o644))
	return path
}

// served is a server of local weights.
func served(t *testing.T, framework, path string) results.Server {
	t.Helper()
	d, err := results.DigestWeights(path)
	require.NoError(t, err)
	return results.Server{Framework: framework, Model: "gpt2", Path: path, Weights: d, Dtype: "bfloat16"}
}

func TestSameWeights(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	a := served(t, "custom", weightsFile(t, "a", 1, 2, 3))
	check := func(name string, ref, own results.Server, verdict results.Verdict, detail string) {
		t.Helper()
		term := SameWeights(t.Context(), &ref, &own)
		assert.Equal(t, results.TermWeights, term.Name)
		assert.Equal(t, verdict, term.Verdict, "%s: %s", name, term.Detail)
		assert.Contains(t, term.Detail, detail, name)
	}
	check("itself", a, a, results.Kept, "the same files")

	// A folder with a link, as a target makes one to change the configuration.
	folder := t.TempDir()
	require.NoError(t, os.Symlink(a.Path, filepath.Join(folder, "model.safetensors")))
	check("a converted folder", a, served(t, "tgi", folder), results.Kept, "the same files")

	check("other names, another order", a, served(t, "llamacpp", weightsFile(t, "blk.0", 3, 1, 2)), results.Kept, "other files with the same values")
	check("other values", a, served(t, "vllm", weightsFile(t, "a", 1, 2, 4)), results.Broken, "other files with other values: 0 tensors are the same")
	gone := served(t, "vllm", weightsFile(t, "a", 1, 2, 5))
	require.NoError(t, os.Remove(gone.Path))
	check("a file that is gone", a, gone, results.Unknown, "no such file")
	changed := served(t, "vllm", weightsFile(t, "a", 1, 2, 6))
	require.NoError(t, os.Rename(weightsFile(t, "a", 1, 2, 3, 4), changed.Path))
	check("a file that changed", a, changed, results.Unknown, "is not what vllm loaded any more")

	check("elsewhere", a, results.Server{Framework: "openai", URL: "http://h"}, results.Unknown, "openai runs elsewhere")
	check("no hash", a, results.Server{Framework: "vllm"}, results.Unknown, "hash")
	dummy := results.Server{Framework: "custom", Dummy: true, Seed: 1}
	vllm := results.Server{Framework: "vllm", Dummy: true, Seed: 1}
	check("dummy", dummy, dummy, results.Kept, "random")
	check("two dummies", dummy, vllm, results.Noted, "each of its own")
	check("one dummy", a, vllm, results.Broken, "one has random weights")
}

func TestDtype(t *testing.T) {
	check := func(ref, own results.Dtype, verdict results.Verdict, detail string) {
		t.Helper()
		term := sameDtype(&ref, &own)
		assert.Equal(t, verdict, term.Verdict, "%v and %v", ref, own)
		assert.Contains(t, term.Detail, detail)
	}
	asked := results.Dtype{Asked: "bfloat16", File: "float32"}
	check(asked, asked, results.Kept, "bfloat16")
	check(asked, results.Dtype{Asked: "auto", File: "bfloat16"}, results.Kept, "bfloat16")
	check(asked, results.Dtype{Asked: "auto", File: "q4_1", Reported: "BF16"}, results.Kept, "bfloat16")
	check(asked, results.Dtype{Asked: "auto", File: "q4_1"}, results.Broken, "q4_1, not bfloat16")
	check(asked, results.Dtype{Asked: "float16"}, results.Broken, "float16, not bfloat16")
	check(asked, results.Dtype{}, results.Unknown, "elsewhere")
	check(asked, results.Dtype{Reported: "torch.bfloat16"}, results.Kept, "")

	assert.Equal(t, results.Kept, dtypeAsAsked(&asked).Verdict)
	assert.Equal(t, results.Broken, dtypeAsAsked(&results.Dtype{Asked: "bfloat16", Reported: "F16"}).Verdict)
	assert.Equal(t, results.Kept, dtypeAsAsked(&results.Dtype{Asked: "auto", Reported: "F16"}).Verdict)

	path := weightsFile(t, "a", 1)
	assert.Equal(t, "float32", FileDtype(path))
	assert.Empty(t, FileDtype("openai-community/gpt2"))
	require.NoError(t, os.WriteFile(path, []byte("GGUF"), 0o644))
	assert.Empty(t, FileDtype(path))
}

func TestReportedDtype(t *testing.T) {
	check := func(status int, body, want string) {
		t.Helper()
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			assert.Equal(t, "/v1/models", r.URL.Path)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}))
		defer srv.Close()
		assert.Equal(t, want, ReportedDtype(t.Context(), Server{URL: srv.URL + "/", Served: "m"}), body)
	}
	check(200, `{"data":[{"id":"m","meta":{"ftype":"BF16"}}]}`, "BF16")
	check(200, `{"data":[{"id":"x","meta":{"ftype":"F16"}},{"id":"m","meta":{"ftype":"Q4_K -\nMedium"}}]}`, "Q4_K - Medium")
	check(200, `{"data":[{"id":"x"},{"id":"y"}]}`, "")
	check(200, `{"data":[{"id":"m","meta":{"ftype":"`+strings.Repeat("x", 100)+`"}}]}`, "")
	check(200, `{"data":[{"id":"m","meta":"none"}]}`, "")
	check(200, `<html>`, "")
	check(404, `{"data":[{"id":"m","meta":{"ftype":"BF16"}}]}`, "")
	assert.Empty(t, ReportedDtype(t.Context(), Server{URL: "http://127.0.0.1:1"}))
	assert.Empty(t, ReportedDtype(t.Context(), Server{URL: "::"}))
}

func FuzzParseDtype(f *testing.F) {
	f.Add([]byte(`{"data":[{"id":"m","meta":{"ftype":"BF16"}}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		got := parseDtype(text, "m")
		require.LessOrEqual(t, len(got), maxDtype)
		require.NotContains(t, got, "\n")
	})
}

// probed is a probe whose answers are the ids given.
func probed(ids ...int32) *results.Probe {
	p := &results.Probe{}
	for i, id := range ids {
		p.Answers = append(p.Answers, results.ProbeAnswer{Prompt: fmt.Sprint(i), Text: fmt.Sprint(id), IDs: []int32{id}})
	}
	return p
}

func TestBetween(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	path := weightsFile(t, "a", 1)
	side := func(framework string, probe *results.Probe) *Side {
		return &Side{Server: served(t, framework, path), Checked: results.Checked{
			Framework: framework, Model: "gpt2", Dtype: results.Dtype{Asked: "bfloat16"}, Probe: probe}}
	}
	ref := side("custom", probed(1, 2, 3))
	verdicts := func(terms []results.Term) string {
		c := results.Contract{Terms: terms}
		return c.String()
	}
	assert.Empty(t, Between(t.Context(), nil, ref), "nothing to compare with")
	assert.Equal(t, "weights:kept dtype:kept probe:kept", verdicts(Between(t.Context(), ref, side("vllm", probed(1, 2, 3)))))
	assert.Equal(t, "weights:kept dtype:kept probe:broken", verdicts(Between(t.Context(), ref, side("vllm", probed(7, 8, 3)))))
	assert.Equal(t, "weights:kept dtype:kept probe:unknown", verdicts(Between(t.Context(), ref, side("vllm", nil))))
	half := side("vllm", probed(1, 2, 3))
	half.Checked.Dtype.Reported = "F16"
	assert.Equal(t, "dtype:broken weights:kept probe:kept", verdicts(Between(t.Context(), ref, half)))
	assert.Equal(t, "dtype:broken", verdicts(Between(t.Context(), nil, half)), "by itself")
}
