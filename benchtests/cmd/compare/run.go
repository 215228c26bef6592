package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"servebench/datasets"
	"servebench/results"
)

// comparison is one run of the command.
type comparison struct {
	options
	log io.Writer // for people
}

func (c *comparison) tell(format string, args ...any) { fmt.Fprintf(c.log, format+"\n", args...) }

// Programs in the output folder's bin/.
const (
	suiteProgram = "benchtests.test"
	serveProgram = "serve"
	tokenProgram = "tokenize"
)

func (c *comparison) program(name string) string { return filepath.Join(c.out, "bin", name) }

// build builds what is run, unless a run that is gone on with has built it.
func (c *comparison) build(ctx context.Context) error {
	if err := os.MkdirAll(filepath.Join(c.out, "bin"), 0o755); err != nil {
		return err
	}
	for name, args := range map[string][]string{
		suiteProgram: {"test", "-c", "./benchtests"},
		serveProgram: {"build", "./serving/cmd/serve"},
		tokenProgram: {"build", "./serving/cmd/tokenize"},
	} {
		if exists(c.program(name)) {
			continue
		}
		// The flag goes behind the verb.
		args = append(append(args[:len(args)-1:len(args)-1], "-o", c.program(name)), args[len(args)-1])
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir = c.root
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", cmd, err, out)
		}
	}
	return nil
}

// folder is where a turn's run of the suite is written.
func (c *comparison) folder(t turn) string { return filepath.Join(c.out, "turns", t.name()) }

// done returns the finished run of a turn, if there is one.
func (c *comparison) done(t turn) (*results.Folder, bool) {
	f, err := results.Load(filepath.Join(c.folder(t), results.Latest))
	return f, err == nil && f.Complete()
}

// execute runs all turns that are not done. A turn that fails does not keep the
// others from being run; the error tells of all of them.
func (c *comparison) execute(ctx context.Context) error {
	var left []turn
	for _, t := range c.plan() {
		if _, ok := c.done(t); !ok {
			left = append(left, t)
		}
	}
	c.tell("%d turns to go; results: %s", len(left), c.out)
	var errs []error
	began := time.Now()
	for i, t := range left {
		if ctx.Err() != nil {
			errs = append(errs, fmt.Errorf("interrupted with %d turns to go; go on with -out %s", len(left)-i, c.out))
			break
		}
		start := time.Now()
		err := c.run(ctx, t)
		verdict := "done"
		if err != nil {
			verdict = "FAILED"
			errs = append(errs, err)
		}
		rest := time.Since(began) / time.Duration(i+1) * time.Duration(len(left)-i-1)
		c.tell("round %d of %d, %s, %s: %s in %v; about %v to go", t.round, c.rounds, t.model.name, t.framework.Name,
			verdict, time.Since(start).Round(time.Second), rest.Round(time.Second))
		if errors.Is(err, errFlags) { // every other turn has the same ones
			break
		}
	}
	return errors.Join(errs...)
}

// suiteArgs is the suite's command line for a turn. The prompts are other ones
// in every round, and the same for all frameworks.
func (c *comparison) suiteArgs(t turn) []string {
	args := append(suiteFlags(t.cases, c.mode), "-test.run", "^$", "-test.timeout", "0", "-test.benchtime", c.benchtime,
		"-framework", t.framework.Name, "-model", t.model.name+"="+t.model.path(t.framework), "-seed", strconv.Itoa(t.round),
		"-max-num-seqs", strconv.Itoa(c.mostInFlight()), "-enable-prefix-caching", "-resume=false", "-results", c.folder(t))
	if slices.Contains(t.framework.Dtypes, dtype) { // else the file decides
		args = append(args, "-dtype", dtype)
	}
	if t.framework.Name == "custom" {
		args = append(args, "-serve-bin", c.program(serveProgram))
	}
	if dir := c.reference(t); dir != "" {
		args = append(args, "-reference", dir)
	}
	return append(args, c.more...)
}

// reference returns the run that a turn's framework is compared with: the first
// framework's with the model, of the same round or, where its turn in that is yet
// to come, the last one before it. "" is none: the turn is that framework's own,
// or it has no run.
func (c *comparison) reference(t turn) string {
	if t.framework == c.frameworks[0] {
		return ""
	}
	for round := t.round; round > 0; round-- {
		base := turn{round: round, model: t.model, framework: c.frameworks[0]}
		run, ok := c.done(base)
		if !ok {
			continue
		}
		if checked, err := run.Checked(); err == nil && len(checked) > 0 {
			return filepath.Join(c.folder(base), results.Latest)
		}
	}
	return ""
}

// mostInFlight is the same for all frameworks, whatever of the cases each has.
func (c *comparison) mostInFlight() int {
	most := 16
	for _, w := range c.cases {
		for _, n := range w.parallels {
			most = max(most, n)
		}
	}
	return most
}

// dtype of weights and KV cache.
const dtype = "bfloat16"

// errFlags is returned for a command line that the suite refused, with its reason.
var errFlags = errors.New("the suite refused its flags")

// usageStatus is what package flag ends a program with that got wrong flags; so
// does a panic, but it prints no usage.
const usageStatus = 2

// tailBytes of the suite's output are shown when it fails.
const tailBytes = 3000

// run runs the suite for a turn.
func (c *comparison) run(ctx context.Context, t turn) error {
	if err := os.MkdirAll(c.folder(t), 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(c.folder(t), "log.txt"))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.CommandContext(ctx, c.program(suiteProgram), c.suiteArgs(t)...)
	cmd.Dir = filepath.Join(c.root, "benchtests")
	cmd.Env = append(append(os.Environ(), c.env...), datasets.TokenizeEnv+"="+c.program(tokenProgram))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Cancel = func() error {
		if errors.Is(context.Cause(ctx), errInterrupt) {
			return nil // the terminal has told the suite too, and twice means at once
		}
		return cmd.Process.Signal(syscall.SIGTERM)
	}
	cmd.WaitDelay = time.Minute // servers get their time to end
	if err := cmd.Run(); err != nil {
		text, _ := os.ReadFile(log.Name())
		why, _, refused := bytes.Cut(text, []byte("\nUsage of "))
		if exit := (*exec.ExitError)(nil); refused && errors.As(err, &exit) && exit.ExitCode() == usageStatus {
			return fmt.Errorf("%w: %s (`go test ./benchtests -args -help` lists them; go test's own begin with -test)", errFlags, bytes.TrimSpace(why))
		}
		return fmt.Errorf("%s: %w; the end of %s:\n%s", t.name(), err, log.Name(), bytes.TrimSpace(text[max(0, len(text)-tailBytes):]))
	}
	return nil
}
