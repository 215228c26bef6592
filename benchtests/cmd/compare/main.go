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
	"time"

	"servebench/benchtests/target"
	"servebench/datasets"
)

// The table that the project is measured by.
const (
	defaultFrameworks = "custom,vllm,llamacpp,tgi,transformers"
	defaultModels     = "gpt2,smollm2-135m-instruct"
	defaultCases      = "fixed-in21-out64@1+4+16,fixed-in405-out64@1+16,fixed-prefix400-in21-out64@16"
	defaultPeers      = "/tmp/peers"
)

// options are the command line, checked.
type options struct {
	rounds     int
	frameworks []*target.Target
	models     []model
	cases      []workload
	mode       string // or several, with commas
	serialMost int    // requests in flight, of a framework that computes one after the other
	benchtime  string
	out        string
	env        []string // where the programs are
	more       []string // flags for the suite, as they are
	root       string   // of this module
}

func main() {
	ctx := onSignal()
	opt, err := parse(ctx, os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(2)
	}
	c := &comparison{options: *opt, log: os.Stderr}
	if err = c.build(ctx); err == nil {
		err = errors.Join(c.execute(ctx), c.report(context.WithoutCancel(ctx), os.Stdout))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		os.Exit(1)
	}
}

// errInterrupt is the cause of a context that Ctrl-C ended.
var errInterrupt = errors.New("interrupted")

// onSignal returns a context that SIGINT and SIGTERM end.
func onSignal() context.Context {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		if s := <-signals; s == os.Interrupt {
			cancel(errInterrupt)
		} else {
			cancel(errors.New(s.String()))
		}
	}()
	return ctx
}

// parse reads the command line and finds what it names.
func parse(ctx context.Context, args []string, help io.Writer) (*options, error) {
	fs := flag.NewFlagSet("compare", flag.ContinueOnError)
	fs.SetOutput(help)
	o := &options{}
	fs.IntVar(&o.rounds, "rounds", 6, "how often each framework has its turn; benchstat has intervals from 6 on")
	frameworks := fs.String("frameworks", defaultFrameworks, "frameworks, separated by commas; the first is compared with the best of the others")
	models := fs.String("models", defaultModels, "models, separated by commas; name=FOLDER takes FOLDER and FOLDER-bf16.gguf")
	cases := fs.String("cases", defaultCases, "tasks with numbers of requests in flight, as fixed-in21-out64@1+4,chat@2")
	peers := fs.String("peers", defaultPeers, "folders that the peers' setup.sh made, separated by commas")
	fs.StringVar(&o.mode, "mode", "stream", "modes, separated by commas: sync, stream")
	fs.IntVar(&o.serialMost, "serial-most", 4, "requests in flight that a framework gets at most which computes one after the other")
	fs.StringVar(&o.benchtime, "benchtime", "4s", "of each pass over a case, as go test's; in seconds it ends with a whole number of requests a stream")
	fs.StringVar(&o.out, "out", "", "folder for what comes out; one that is there is gone on with (default: a new one in results/runs)")
	if err := fs.Parse(args); err != nil {
		return nil, err
	}
	o.more = fs.Args()
	var err error
	if o.root, err = datasets.ModuleRoot(); err != nil {
		return nil, err
	}
	if o.rounds < 1 {
		return nil, fmt.Errorf("-rounds %d: it must be 1 or more", o.rounds)
	}
	if o.serialMost < 1 {
		return nil, fmt.Errorf("-serial-most %d: it must be 1 or more", o.serialMost)
	}
	for name := range strings.SplitSeq(*frameworks, ",") {
		t, err := target.ByName(strings.TrimSpace(name))
		if err != nil {
			return nil, fmt.Errorf("-frameworks: %w", err)
		}
		o.frameworks = append(o.frameworks, t)
	}
	if o.cases, err = parseWorkloads(*cases); err != nil {
		return nil, fmt.Errorf("-cases: %w", err)
	}
	for mode := range strings.SplitSeq(o.mode, ",") {
		if _, err := datasets.ParseMode(mode); err != nil {
			return nil, fmt.Errorf("-mode: %w", err)
		}
	}
	dirs := strings.FieldsFunc(*peers, func(r rune) bool { return r == ',' || r == ' ' })
	for name := range strings.SplitSeq(*models, ",") {
		m, err := findModel(strings.TrimSpace(name), dirs)
		if err != nil {
			return nil, fmt.Errorf("-models: %w", err)
		}
		o.models = append(o.models, m)
	}
	if o.env, err = find(ctx, o.frameworks, o.models, dirs); err != nil {
		return nil, err
	}
	if o.out == "" {
		o.out = filepath.Join(o.root, "results", "runs", "compare-"+time.Now().UTC().Format("20060102T150405Z"))
	}
	o.out, err = filepath.Abs(o.out)
	return o, err
}
