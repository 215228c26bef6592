package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"servebench/results"
)

func main() {
	check := flag.Bool("check", false, "compare with the run's results.csv instead of printing")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: recompute [-check] RUN\n\nRUN is a run's folder, such as results/runs/latest.")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(flag.Arg(0), *check, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "recompute:", err)
		os.Exit(1)
	}
}

// run prints the recomputed results.csv of dir, or what of it differs.
func run(dir string, check bool, out, warn io.Writer) error {
	folder, err := results.Load(dir)
	if err != nil {
		return err
	}
	for _, w := range folder.Warnings() {
		fmt.Fprintln(warn, "recompute: warning:", w)
	}
	var rows []*results.Summary
	for s, err := range folder.Summaries() {
		if err != nil {
			return err
		}
		rows = append(rows, s)
	}
	var want bytes.Buffer
	if err := results.WriteCSV(&want, true, rows...); err != nil {
		return err
	}
	if !check {
		_, err := out.Write(want.Bytes())
		return err
	}
	file, err := folder.Open(results.FileCSV)
	if err != nil {
		return err
	}
	defer file.Close()
	have, err := io.ReadAll(file)
	if err != nil {
		return err
	}
	n := compare(string(have), want.String(), out)
	if n > 0 {
		return fmt.Errorf("%d lines of %s are not what %s gives", n, results.FileCSV, results.FileRequests)
	}
	fmt.Fprintf(out, "%d rows, all as the raw records give them\n", len(rows))
	return nil
}

// compare prints the lines that differ and counts them.
func compare(have, want string, out io.Writer) int {
	n := 0
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	for i := range max(len(h), len(w)) {
		var a, b string
		if i < len(h) {
			a = h[i]
		}
		if i < len(w) {
			b = w[i]
		}
		if a != b {
			n++
			fmt.Fprintf(out, "line %d\n  in the file:  %s\n  recomputed:   %s\n", i+1, a, b)
		}
	}
	return n
}
