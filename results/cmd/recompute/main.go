package main

import (
	"bytes"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
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
	n, warnings, err := compare(have, want.Bytes(), out)
	if err != nil {
		return fmt.Errorf("%s: %w", results.FileCSV, err)
	}
	for _, w := range warnings {
		fmt.Fprintln(warn, "recompute: warning:", w)
	}
	if n > 0 {
		return fmt.Errorf("%d lines of %s are not what %s gives", n, results.FileCSV, results.FileRequests)
	}
	fmt.Fprintf(out, "%d rows, all as the raw records give them\n", len(rows))
	return nil
}

// compare prints the lines that differ and counts them. Cells are compared by
// their columns' names; a column that only one of the two has is a warning: the
// run was made by a version of the suite that had others.
func compare(have, want []byte, out io.Writer) (n int, warnings []string, err error) {
	h, err := csv.NewReader(bytes.NewReader(have)).ReadAll()
	if err != nil {
		return 0, nil, err
	}
	w, err := csv.NewReader(bytes.NewReader(want)).ReadAll()
	if err != nil {
		return 0, nil, err
	}
	if len(h) == 0 {
		return 0, nil, errors.New("there is no header")
	}
	shared := make(map[int]int) // column of h: the same of w
	var gone, added []string
	for i, name := range h[0] {
		if k := slices.Index(w[0], name); k >= 0 {
			shared[i] = k
		} else {
			gone = append(gone, name)
		}
	}
	for _, name := range w[0] {
		if !slices.Contains(h[0], name) {
			added = append(added, name)
		}
	}
	if len(gone) > 0 {
		warnings = append(warnings, "columns of another version of the suite, not checked: "+strings.Join(gone, " "))
	}
	if len(added) > 0 {
		warnings = append(warnings, "columns that the version of the suite that wrote the file did not have: "+strings.Join(added, " "))
	}
	if len(shared) == 0 {
		return 0, nil, errors.New("none of its columns is known")
	}
	for line := 1; line < max(len(h), len(w)); line++ {
		if line >= len(h) || line >= len(w) {
			n++
			fmt.Fprintf(out, "row %d is only in %s\n", line, map[bool]string{true: "the file", false: "the raw records"}[line < len(h)])
			continue
		}
		n += compareRow(line, h, w, shared, out)
	}
	return n, warnings, nil
}

// compareRow returns 1 if a row's cells differ in any shared column.
func compareRow(line int, have, want [][]string, shared map[int]int, out io.Writer) (differs int) {
	for i, name := range have[0] {
		k, ok := shared[i]
		if ok && have[line][i] != want[line][k] {
			differs = 1
			fmt.Fprintf(out, "row %d, %s: the file has %q, recomputed it is %q\n", line, name, have[line][i], want[line][k])
		}
	}
	return differs
}
