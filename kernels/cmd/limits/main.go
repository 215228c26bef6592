package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"servebench/kernels/cpu"
)

func main() {
	repeat := flag.Int("repeat", 15, "measurements of each limit")
	threads := flag.String("threads", "", "numbers of threads, such as 1,2 (default: one and all cores)")
	flag.Parse()
	if err := run(os.Stdout, *repeat, *threads); err != nil {
		fmt.Fprintln(os.Stderr, "limits:", err)
		os.Exit(1)
	}
}

func run(out io.Writer, repeat int, threads string) error {
	if repeat < 1 {
		return fmt.Errorf("-repeat %d: at least one measurement is needed", repeat)
	}
	counts, err := parse(threads)
	if err != nil {
		return err
	}
	limits, err := measure(out, counts, repeat)
	if err != nil {
		return err
	}
	return table(out, limits)
}

// parse reads a list of numbers of threads; 0 stands for all cores.
func parse(list string) ([]int, error) {
	if list == "" {
		return []int{1, 0}, nil
	}
	var counts []int
	for part := range strings.SplitSeq(list, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(part))
		if err != nil || n < 1 {
			return nil, fmt.Errorf("-threads %q: want numbers of threads between commas, such as 1,2", list)
		}
		counts = append(counts, n)
	}
	return counts, nil
}

// limit is one thing that the machine does, and how often a second it did.
type limit struct {
	what    string
	threads int
	unit    string
	take    func() float64
	rates   []float64 // billions a second, one a measurement
}

// key is the limit's name as a benchmark.
func (l *limit) key() string {
	return fmt.Sprintf("BenchmarkLimit/what=%s/threads=%d", l.what, l.threads)
}

// measure prints a line for every measurement and returns what they were.
func measure(out io.Writer, counts []int, repeat int) ([]*limit, error) {
	var limits []*limit
	seen := map[int]bool{}
	for _, n := range counts {
		huge, err := cpu.NewProbe(n, false)
		if err != nil {
			return nil, err
		}
		defer huge.Close()
		if seen[huge.Threads()] {
			continue
		}
		seen[huge.Threads()] = true
		small, err := cpu.NewProbe(n, true)
		if err != nil {
			return nil, err
		}
		defer small.Close()
		limits = append(limits,
			&limit{what: "read/pages=huge", threads: huge.Threads(), unit: "GB/s", take: huge.Read},
			&limit{what: "read/pages=small", threads: huge.Threads(), unit: "GB/s", take: small.Read},
			&limit{what: "fma/dtype=float32", threads: huge.Threads(), unit: "GFLOP/s", take: huge.FMA})
		if huge.Dot() > 0 {
			limits = append(limits, &limit{what: "dot/dtype=bfloat16", threads: huge.Threads(), unit: "GFLOP/s", take: huge.Dot})
		}
	}
	fmt.Fprintf(out, "goos: %s\ngoarch: %s\npkg: servebench/kernels/cmd/limits\n", runtime.GOOS, runtime.GOARCH)
	for _, l := range limits {
		l.take() // wakes the threads and, after the others' rest, the clock
	}
	for range repeat {
		for _, l := range limits {
			rate := l.take() / 1e9
			l.rates = append(l.rates, rate)
			fmt.Fprintf(out, "%s 1 %.2f %s\n", l.key(), rate, l.unit)
		}
	}
	return limits, nil
}

// table writes medians and the range of all measurements. What disturbs a
// measurement only ever makes it slower, so the largest is the limit.
func table(out io.Writer, limits []*limit) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "# limit\tthreads\tmost\tmedian\tleast\tunit\t")
	for _, l := range limits {
		slices.Sort(l.rates)
		n := len(l.rates)
		median := (l.rates[(n-1)/2] + l.rates[n/2]) / 2
		fmt.Fprintf(w, "# %s\t%d\t%.1f\t%.1f\t%.1f\t%s\t\n", l.what, l.threads, l.rates[n-1], median, l.rates[0], l.unit)
	}
	return w.Flush()
}
