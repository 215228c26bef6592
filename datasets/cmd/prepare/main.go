package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"servebench/datasets"
	"servebench/datasets/hub"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

// errUsage is wrapped by errors in the flags.
var errUsage = errors.New("see -help")

// options are the command's flags, checked.
type options struct {
	datasets  []datasets.Dataset
	models    []datasets.Model
	in        []string
	out       string
	split     string
	tokenizer string
	draw      datasets.Options
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("prepare", flag.ContinueOnError)
	flags.SetOutput(stderr)
	dataset := flags.String("dataset", "", "`names` of datasets, by comma, or all")
	model := flags.String("model", "", "`names` of models, by comma, or all")
	in := flags.String("in", "", "`files` with the dataset's rows, by comma; the hub unless given")
	flags.StringVar(&o.out, "out", "", "`folder` to write to")
	flags.StringVar(&o.split, "split", "", "split to take from the hub; each dataset has its own default")
	flags.StringVar(&o.tokenizer, "tokenizer", "", "`file` or folder of the model's tokenizer; the hub unless given")
	flags.Uint64Var(&o.draw.Seed, "seed", datasets.DefaultSeed, "seed of the draw and of the prompts' seeds")
	flags.IntVar(&o.draw.N, "n", datasets.DefaultN, "prompts to draw")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return o, err
		}
		return o, fmt.Errorf("%w (%w)", err, errUsage)
	}
	var err error
	usage := func(format string, a ...any) (options, error) {
		return o, fmt.Errorf("%w (%w)", fmt.Errorf(format, a...), errUsage)
	}
	if o.datasets, err = choose(*dataset, datasets.Datasets(), datasets.DatasetByName); err != nil {
		return usage("-dataset: %w", err)
	}
	if o.models, err = choose(*model, datasets.Models(), datasets.ModelByName); err != nil {
		return usage("-model: %w", err)
	}
	if *in != "" {
		o.in = strings.Split(*in, ",")
	}
	switch {
	case flags.NArg() > 0:
		return usage("unexpected argument %q", flags.Arg(0))
	case o.out == "":
		return usage("-out is missing: name the folder to write to")
	case o.draw.N < 1:
		return usage("-n is %d, want at least 1", o.draw.N)
	case o.in != nil && len(o.datasets) > 1:
		return usage("-in has the rows of one dataset, but -dataset names %d", len(o.datasets))
	case o.in != nil && o.split != "":
		return usage("-split chooses from the hub, -in is a local file: give one of them")
	case o.tokenizer != "" && len(o.models) > 1:
		return usage("-tokenizer is the tokenizer of one model, but -model names %d", len(o.models))
	}
	return o, nil
}

// choose returns what a list of names by comma stands for.
func choose[T any](list string, all []T, byName func(string) (T, error)) ([]T, error) {
	if list == "all" {
		return all, nil
	}
	var chosen []T
	for name := range strings.SplitSeq(list, ",") {
		one, err := byName(strings.TrimSpace(name))
		if err != nil {
			return nil, fmt.Errorf("%w, or all", err)
		}
		chosen = append(chosen, one)
	}
	return chosen, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	sources := make([]*datasets.Source, len(o.datasets))
	for i, d := range o.datasets {
		if sources[i], err = open(ctx, d, o); err != nil {
			return err
		}
	}
	for _, m := range o.models {
		if err := prepare(ctx, m, sources, o, stdout); err != nil {
			return err
		}
	}
	return nil
}

func open(ctx context.Context, d datasets.Dataset, o options) (*datasets.Source, error) {
	if o.in != nil {
		return d.Open(o.in...)
	}
	client, err := hub.FromEnv()
	if err != nil {
		return nil, err
	}
	return d.Download(ctx, client, o.split)
}

// prepare writes the files of one model.
func prepare(ctx context.Context, m datasets.Model, sources []*datasets.Source, o options, stdout io.Writer) (err error) {
	from := m.Hub
	if o.tokenizer != "" {
		from = o.tokenizer
		o.draw.Tokenizer = filepath.Base(o.tokenizer)
	}
	tok, err := datasets.StartTokenizer(ctx, from, datasets.TokenizerOptions{})
	if err != nil {
		return fmt.Errorf("tokenizer of %s (a local one can be given with -tokenizer): %w", m.Name, err)
	}
	defer func() { err = errors.Join(err, tok.Close()) }()
	for _, src := range sources {
		set, err := datasets.Prepare(ctx, src, m, tok, o.draw)
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s for %s: %s; %d drawn, sha256 %s\n",
			src.Dataset.Name, m.Name, set.Header.Rows, set.Header.Rows.Drawn, set.Header.PromptsSHA256)
		for _, api := range datasets.APIs() {
			for _, mode := range datasets.Modes() {
				path, err := set.WriteFile(o.out, mode, api)
				if err != nil {
					return err
				}
				fmt.Fprintln(stdout, "  wrote", path)
			}
		}
	}
	return nil
}
