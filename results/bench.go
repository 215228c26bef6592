package results

import (
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
)

// Package is the "pkg" that go test prints above the suite's benchmarks.
const Package = "servebench/benchtests"

// WriteUnits writes a Unit line for every unit of the kinds (none given: all),
// which tells benchmark tools whether higher or lower is better. A test
// binary prints them from TestMain: without -v, testing prints a benchmark's
// name before its body runs.
func WriteUnits(w io.Writer, kinds ...Kind) error {
	var b strings.Builder
	for _, m := range Metrics {
		if m.Unit != "" && m.isOf(kinds) {
			fmt.Fprintf(&b, "Unit %s better=%s\n", m.Unit, m.Better)
		}
	}
	fmt.Fprintf(&b, "Unit %s better=%s\n", FailedUnit, lower)
	_, err := io.WriteString(w, b.String())
	return err
}

// benchHeader returns the head of bench.txt: units, and the configuration
// lines that go test prints. benchstat splits its tables by every such line
// whose value differs, so nothing here may differ between runs that are to be
// compared: no names of runs, no dates.
func benchHeader(cpu string, kinds []Kind) string {
	var b strings.Builder
	_ = WriteUnits(&b, kinds...) // a strings.Builder takes everything
	fmt.Fprintf(&b, "\ngoos: %s\ngoarch: %s\npkg: %s\n", runtime.GOOS, runtime.GOARCH, Package)
	if cpu != "" {
		fmt.Fprintf(&b, "cpu: %s\n", cpu)
	}
	return b.String()
}

// weightsLine is the configuration line that keeps figures made with dummy
// weights out of tables with others; "weights:" ends it.
func weightsLine(dummy bool) string {
	if dummy {
		return "weights: dummy\n"
	}
	return "weights:\n"
}

// contractLine is the configuration line that keeps the figures of passes that
// broke the contract between frameworks out of tables with others, with lines
// before it that benchmark tools pass over and that say why; "contract:" ends it.
func contractLine(s *Summary) string {
	var b strings.Builder
	for _, note := range s.Contract.Notes() {
		fmt.Fprintf(&b, "# %s: %s\n", s.Case, strings.Join(strings.Fields(note), " "))
	}
	return b.String() + strings.TrimRight("contract: "+brokenTerms(s), " ") + "\n"
}

// brokenTerms is the line's value, "" for a contract that was not broken.
func brokenTerms(s *Summary) string {
	var names []string
	for _, t := range s.Contract.Of(Broken) {
		names = append(names, t.Name)
	}
	if len(names) == 0 {
		return ""
	}
	return "broken, " + strings.Join(names, " and ")
}

// benchLine returns the pass as the line that go test prints for it, "" where
// no request completed. testing's own formatting is used, so that bench.txt
// and the captured output of the same run hold the same numbers.
func benchLine(s *Summary, kinds []Kind) string {
	r := testing.BenchmarkResult{N: s.Requests, Extra: make(map[string]float64)}
	for _, v := range s.Values(kinds...) {
		r.Extra[v.Unit] = v.Value
	}
	if len(r.Extra) == 0 {
		return ""
	}
	name := "BenchmarkServe/" + s.Case.String()
	if n := runtime.GOMAXPROCS(0); n != 1 {
		name = fmt.Sprintf("%s-%d", name, n)
	}
	return name + "\t" + r.String() + "\n"
}
