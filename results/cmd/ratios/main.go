package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"servebench/results/ratio"
)

func main() {
	base := flag.String("base", "custom", "framework that is compared with the best of the others")
	metric := flag.String("metric", "out_tok_per_s,p2ft_p50_s", "columns of results.csv, separated by commas")
	format := flag.String("format", "markdown", "markdown or csv")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: ratios [flags] RESULTS.CSV...")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 || (*format != "markdown" && *format != "csv") {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(os.Stdout, flag.Args(), *base, strings.Split(*metric, ","), *format == "csv"); err != nil {
		fmt.Fprintln(os.Stderr, "ratios:", err)
		os.Exit(1)
	}
}

// run writes a table for each metric.
func run(out io.Writer, files []string, base string, metrics []string, csv bool) error {
	var rows []ratio.Row
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		more, err := ratio.Read(f)
		f.Close()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		rows = append(rows, more...)
	}
	for i, metric := range metrics {
		rep, err := ratio.Compare(rows, base, metric)
		if err != nil {
			return err
		}
		if csv {
			err = rep.CSV(out, i == 0)
		} else {
			if i > 0 {
				fmt.Fprintln(out)
			}
			err = rep.Markdown(out)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
