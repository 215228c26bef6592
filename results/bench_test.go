package results

import (
	"bytes"
	"encoding/csv"
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/perf/benchfmt"
)

// benchRun writes a run of two cases and six repeats and returns its bench.txt.
func benchRun(t *testing.T, seed uint64, name string) string {
	t.Helper()
	r := create(t, t.TempDir(), RunOptions{Name: name})
	rng := rand.New(rand.NewPCG(seed, 1))
	for repeat := range 6 {
		for _, c := range []Case{streamCase, syncCase} {
			pass := randomPass(rng, c, repeat, 30)
			for i := range pass {
				pass[i].Error = ""
			}
			gpu := someGPUUsage()
			*gpu.ServerMemory += rng.Int64N(1 << 20)
			*gpu.DeviceMemory += rng.Int64N(1 << 20)
			*gpu.Energy += rng.Float64()
			_, err := r.Add(pass, Options{
				Usage: Usage{PeakRSS: 1<<28 + rng.Int64N(1<<20), PeakPSS: 1<<27 + rng.Int64N(1<<20), GPU: gpu, ServerCPU: 3e9 + time.Duration(rng.Int64N(1e9)), SuiteCPU: 2e8 + time.Duration(rng.Int64N(1e8))},
			})
			require.NoError(t, err)
		}
		if repeat == 1 { // a run that was cut and gone on with reads the same
			require.NoError(t, r.Close())
			r = reopen(t, r.Dir())
		}
	}
	require.NoError(t, r.Complete())
	return r.path(FileBench)
}

func TestBenchFileReads(t *testing.T) {
	f, err := os.Open(benchRun(t, 1, "a"))
	require.NoError(t, err)
	defer f.Close()
	r := benchfmt.NewReader(f, f.Name())
	results := 0
	seen := make(map[string]bool)
	for r.Scan() {
		switch rec := r.Result().(type) {
		case *benchfmt.SyntaxError:
			t.Error(rec)
		case *benchfmt.Result:
			results++
			assert.Equal(t, 30, rec.Iters)
			assert.Equal(t, "linux", strings.ToLower(rec.GetConfig("goos")))
			assert.Equal(t, Package, rec.GetConfig("pkg"))
			assert.Equal(t, "Some CPU @ 2.0GHz", rec.GetConfig("cpu"))
			assert.Empty(t, rec.GetConfig("weights"))
			for _, v := range rec.Values {
				seen[v.Unit] = true
				assert.NotZero(t, v.Value, v.Unit)
			}
		}
	}
	require.NoError(t, r.Err())
	assert.Equal(t, 12, results)
	for _, unit := range []string{"sec/op", "p99-p2ft-sec", "p50-tpot-sec", "out-tok/s", "host-mem-B", "host-mem-pss-B", "server-cpu-sec/ktok", "gpu-mem-B", "gpu-device-mem-B", "J/tok"} {
		assert.True(t, seen[unit], "%s is not there", unit)
	}
	for _, m := range Metrics {
		if m.Unit == "" {
			continue
		}
		want := map[string]int{lower: -1, higher: 1}[m.Better]
		assert.Equal(t, want, r.Units().GetBetter(m.Unit), m.Unit)
	}
}

// benchstat makes one table of each unit out of two runs, with both runs'
// cases in its rows, and finds nothing to complain about.
func TestBenchstat(t *testing.T) {
	tables, stderr := benchstat(t, benchRun(t, 1, "a"), benchRun(t, 2, "b"))
	assert.Empty(t, stderr)
	assert.Len(t, tables, 22, "one table of each unit")
	for unit, rows := range tables {
		require.Len(t, rows, 1, "%s is split", unit)
		for _, row := range rows[0] {
			assert.NotEmpty(t, row[1], "%s of %s is missing in one run", unit, row[0])
			assert.NotEmpty(t, row[3], "%s of %s is missing in one run", unit, row[0])
		}
	}
	for unit, n := range map[string]int{"sec/op": 2, "p50-latency-sec": 2, "p99-itl-sec": 1, "p50-p2ft-sec": 1, "req/s": 2, "out-tok/s": 2, "host-mem-B": 2, "J/tok": 2} {
		require.Contains(t, tables, unit)
		assert.Len(t, tables[unit][0], n, unit)
	}
}

// Figures made with dummy weights never share a table with real ones.
func TestBenchstatDummy(t *testing.T) {
	r := create(t, t.TempDir(), RunOptions{Name: "a"})
	for i, dummy := range []bool{false, true, true, false} {
		req := stream(0, 100*ms, 110*ms)
		req.Repeat = i
		_, err := r.Add([]Request{req}, Options{Dummy: dummy})
		require.NoError(t, err)
	}
	require.NoError(t, r.Close())
	text := content(t, r, FileBench)
	assert.Equal(t, 1, strings.Count(text, "weights: dummy\n"))
	assert.Equal(t, 1, strings.Count(text, "weights:\n"))
	rd := benchfmt.NewReader(strings.NewReader(text), "bench.txt")
	var weights []string
	for rd.Scan() {
		if rec, ok := rd.Result().(*benchfmt.Result); ok {
			weights = append(weights, rec.GetConfig("weights"))
		}
	}
	assert.Equal(t, []string{"", "dummy", "dummy", ""}, weights)
}

// benchstat runs the command on files and returns its tables by unit: for
// each table of the unit, its rows of name, value, interval, value, …
func benchstat(t *testing.T, files ...string) (map[string][][][]string, string) {
	t.Helper()
	goCmd, err := exec.LookPath("go")
	if err != nil {
		t.Skip("SKIPPED, not tested here: the go command is missing, so is benchstat")
	}
	cmd := exec.Command(goCmd, append([]string{"tool", "benchstat", "-format", "csv"}, files...)...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		require.False(t, errors.As(err, &exit), "benchstat: %s", stderr.String())
		require.NoError(t, err)
	}
	tables := make(map[string][][][]string)
	r := csv.NewReader(&out)
	r.FieldsPerRecord = -1
	records, err := r.ReadAll()
	require.NoError(t, err)
	unit := ""
	for _, rec := range records {
		switch {
		case len(rec) > 2 && rec[0] == "" && rec[2] == "CI": // a table's head
			unit = rec[1]
			tables[unit] = append(tables[unit], nil)
		case len(rec) > 3 && rec[0] != "" && rec[0] != "geomean" && unit != "":
			last := len(tables[unit]) - 1
			tables[unit][last] = append(tables[unit][last], rec)
		}
	}
	return tables, stderr.String()
}

// bench.txt has the very lines that go test prints: the test runs itself as a
// benchmark that reports a summary's values, and compares.
func TestBenchLineIsWhatTestingPrints(t *testing.T) {
	if os.Getenv("RESULTS_PRINT_BENCHMARK") != "" {
		t.Skip("this is the copy that prints")
	}
	cmd := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkServe$", "-test.benchtime=1x")
	cmd.Env = append(os.Environ(), "RESULTS_PRINT_BENCHMARK=1")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	var printed string
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(line, "BenchmarkServe/") {
			printed = line
		}
	}
	s := printedSummary()
	assert.Equal(t, strings.Fields(benchLine(&s, nil)), strings.Fields(printed), string(out))
}

func printedSummary() Summary {
	return Summarize([]Request{stream(0, 123456*1e3, 234567*1e3, 345678*1e3)}, Options{Usage: Usage{PeakRSS: 123456789}})
}

func BenchmarkServe(b *testing.B) {
	if os.Getenv("RESULTS_PRINT_BENCHMARK") == "" {
		b.Skip("only for TestBenchLineIsWhatTestingPrints")
	}
	s := printedSummary()
	b.Run(s.Case.String(), func(b *testing.B) {
		for _, v := range s.Values() {
			b.ReportMetric(v.Value, v.Unit)
		}
	})
}

func TestWriteUnits(t *testing.T) {
	var b strings.Builder
	require.NoError(t, WriteUnits(&b, KindThroughput))
	assert.Equal(t, "Unit gen-tok/s better=higher\nUnit out-tok/s better=higher\nUnit total-tok/s better=higher\nUnit req/s better=higher\nUnit good-req/s better=higher\nUnit failed-req better=lower\n", b.String())
}

func TestRunKinds(t *testing.T) {
	r := create(t, t.TempDir(), RunOptions{Kinds: []Kind{KindThroughput}})
	_, err := r.Add([]Request{stream(0, 100*ms, 110*ms)}, Options{})
	require.NoError(t, err)
	text := content(t, r, FileBench)
	assert.Contains(t, text, " out-tok/s")
	assert.NotContains(t, text, "latency")
	assert.NotContains(t, text, "ns/op")
	assert.FileExists(t, filepath.Join(r.Dir(), FileCSV))
	assert.Contains(t, content(t, r, FileCSV), "0.11", "the CSV has every figure")
}
