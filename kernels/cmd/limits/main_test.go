package main

import (
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/perf/benchfmt"

	"servebench/kernels/cpu"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		list string
		want []int
	}{{"", []int{1, 0}}, {"1", []int{1}}, {"2, 4", []int{2, 4}}} {
		got, err := parse(c.list)
		require.NoError(t, err)
		require.Equal(t, c.want, got, c.list)
	}
	for _, list := range []string{"0", "-1", "two", "1,", "1;2"} {
		_, err := parse(list)
		require.ErrorContains(t, err, "want numbers of threads", list)
	}
	require.ErrorContains(t, run(nil, 0, ""), "-repeat 0")
}

// What is printed is one benchmark line a limit and repetition, then a table
// whose figures are in order.
func TestRun(t *testing.T) {
	var out strings.Builder
	err := run(&out, 2, "1,1")
	if errors.Is(err, cpu.ErrUnavailable) {
		t.Skip("SKIPPED, not tested here:", err)
	}
	require.NoError(t, err)
	lines := map[string]int{}
	for r := benchfmt.NewReader(strings.NewReader(out.String()), "out"); r.Scan(); {
		if res, ok := r.Result().(*benchfmt.Result); ok {
			require.Len(t, res.Values, 1)
			require.Positive(t, res.Values[0].Value, res.Name)
			lines[res.Name.String()]++
		}
	}
	limits := 3
	if cpu.ISAs()[0] == "avx512bf16" {
		limits++
	}
	require.Len(t, lines, limits, out.String())
	for name, n := range lines {
		require.Equal(t, 2, n, name)
	}
	rows := 0
	for line := range strings.Lines(out.String()) {
		f := strings.Fields(strings.TrimSpace(line))
		if len(f) < 7 || f[0] != "#" || f[1] == "limit" {
			continue
		}
		rows++
		require.LessOrEqual(t, number(t, f[5]), number(t, f[4]), line)
		require.LessOrEqual(t, number(t, f[4]), number(t, f[3]), line)
	}
	require.Equal(t, limits, rows, out.String())
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	f, err := strconv.ParseFloat(s, 64)
	require.NoError(t, err)
	return f
}
