package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"servebench/results"
	"servebench/results/ratio"
)

// ratioMetrics are the figures that ratios are made of.
var ratioMetrics = []string{"out_tok_per_s", "p2ft_p50_s"}

// finished is a turn with its run.
type finished struct {
	turn
	folder *results.Folder
	env    results.Environment
}

// report writes what all finished turns give together, and the table of ratios
// to out. It overwrites what an earlier report has written.
func (c *comparison) report(ctx context.Context, out io.Writer) error {
	var turns []finished
	for _, t := range c.plan() {
		folder, err := results.Load(filepath.Join(c.folder(t), results.Latest))
		if err != nil {
			continue // execute has told why
		}
		env, err := folder.Environment()
		if err != nil {
			return err
		}
		turns = append(turns, finished{t, folder, env})
	}
	if len(turns) == 0 {
		return errors.New("no turn was measured")
	}
	if err := c.merge(turns); err != nil {
		return err
	}
	if err := c.environments(turns); err != nil {
		return err
	}
	checks, err := checked(turns)
	if err != nil {
		return err
	}
	return errors.Join(c.ratios(out, checks, differences(turns)), c.benchstat(ctx))
}

// merge writes bench.txt and results.csv of all turns.
func (c *comparison) merge(turns []finished) error {
	var bench, table bytes.Buffer
	var parts []ratio.Part
	for _, t := range turns {
		text, err := read(t.folder, results.FileBench)
		if err != nil {
			return err
		}
		// What the turn before it ended with is not this one's configuration.
		fmt.Fprintf(&bench, "weights:\ncontract:\n%s: %d\n%s\n", ratio.RoundColumn, t.round, text)
		csv, err := read(t.folder, results.FileCSV)
		if err != nil {
			return err
		}
		parts = append(parts, ratio.Part{Round: t.round, Name: t.name(), CSV: bytes.NewReader(csv)})
	}
	if err := ratio.Merge(&table, parts); err != nil {
		return err
	}
	return errors.Join(c.write(results.FileBench, bench.Bytes()), c.write(results.FileCSV, table.Bytes()))
}

func read(f *results.Folder, name string) ([]byte, error) {
	r, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func (c *comparison) write(name string, data []byte) error {
	return os.WriteFile(filepath.Join(c.out, name), data, 0o644)
}

// environments copies the environment of each framework's first turn with each
// model, and what was checked in it: they differ in servers, and in load and time.
func (c *comparison) environments(turns []finished) error {
	seen := map[string]bool{}
	for _, t := range turns {
		of := fmt.Sprintf("-%s-%s.json", t.framework.Name, t.model.name)
		if seen[of] {
			continue
		}
		seen[of] = true
		for what, name := range map[string]string{"environment": results.FileEnvironment, "contract": results.FileContract} {
			data, err := os.ReadFile(filepath.Join(c.folder(t.turn), results.Latest, name))
			if errors.Is(err, fs.ErrNotExist) && name == results.FileContract {
				continue // a turn from before there was one
			}
			if err != nil {
				return err
			}
			if err := c.write(what+of, data); err != nil {
				return err
			}
		}
	}
	return nil
}

// checked returns what was found out about each framework with each model before
// it was measured, in its first turn that has it, as a list.
func checked(turns []finished) (string, error) {
	var b strings.Builder
	seen := map[string]bool{}
	for _, t := range turns {
		all, err := t.folder.Checked()
		if err != nil {
			return "", err
		}
		for _, c := range all {
			if name := c.Framework + ", " + c.Model; !seen[name] {
				seen[name] = true
				fmt.Fprintf(&b, "- %s: %s\n", name, checkedLine(&c))
			}
		}
	}
	if b.Len() == 0 {
		return "", nil
	}
	return "Checked before anything was measured (contract.json of the first turns):\n\n" + b.String() + "\n", nil
}

func checkedLine(c *results.Checked) string {
	var parts []string
	for _, p := range c.Prompts {
		parts = append(parts, fmt.Sprintf("prompts of %s %s", p.Task, p.Finding))
	}
	beside := ""
	if c.Reference != "" {
		beside = " beside " + c.Reference
	}
	for _, t := range c.Terms {
		part := fmt.Sprintf("%s%s %s", t.Name, beside, t.Verdict)
		if t.Detail != "" {
			part += " (" + t.Detail + ")"
		}
		parts = append(parts, part)
	}
	if c.Reference == "" {
		parts = append(parts, "what the others are compared with")
	}
	return strings.Join(parts, "; ")
}

// differences returns what was not the same for all frameworks of a round, or
// for a framework in all rounds: prompts, and the versions of servers.
func differences(turns []finished) []string {
	type subject struct{ what, of string }
	first := map[subject]string{}
	var out []string
	check := func(t finished, what, of, is string) {
		if was, ok := first[subject{what, of}]; !ok {
			first[subject{what, of}] = is
		} else if was != is {
			out = append(out, fmt.Sprintf("%s: %s of %s was %s, is %s", t.name(), what, of, was, is))
		}
	}
	for _, t := range turns {
		for _, f := range t.env.Datasets {
			check(t, fmt.Sprintf("the prompts in round %d", t.round), f.Name, f.SHA256)
		}
		for _, s := range t.env.Servers {
			check(t, "the version", s.Framework, s.Version)
			check(t, "the program", s.Framework, s.Binary)
			check(t, "the weights of "+s.Model, s.Framework, s.Weights.SHA256)
		}
		check(t, "the program", "the suite", t.env.Suite.Binary)
	}
	return out
}

// ratios writes ratios.md and ratios.csv, and the first to out as well.
func (c *comparison) ratios(out io.Writer, checks string, differ []string) error {
	f, err := os.Open(filepath.Join(c.out, results.FileCSV))
	if err != nil {
		return err
	}
	defer f.Close()
	rows, err := ratio.Read(f)
	if err != nil {
		return err
	}
	var text, table bytes.Buffer
	for i, metric := range ratioMetrics {
		rep, err := ratio.Compare(rows, c.frameworks[0].Name, metric)
		if err != nil {
			fmt.Fprintf(&text, "%v\n\n", err) // say, in sync mode nobody has a first token
			continue
		}
		if i > 0 {
			rep.Warnings = nil // the same as before
		}
		if err := errors.Join(rep.Markdown(&text), rep.CSV(&table, table.Len() == 0)); err != nil {
			return err
		}
		text.WriteString("\n")
	}
	text.WriteString(checks)
	if len(differ) > 0 {
		fmt.Fprintf(&text, "Not the same:\n\n- %s\n", strings.Join(differ, "\n- "))
	}
	_, err = out.Write(text.Bytes())
	return errors.Join(err, c.write("ratios.md", text.Bytes()), c.write("ratios.csv", table.Bytes()))
}

// benchstat writes benchstat's tables, with a column a framework.
func (c *comparison) benchstat(ctx context.Context) error {
	var names []string
	for _, t := range c.frameworks {
		names = append(names, t.Name)
	}
	cmd := exec.CommandContext(ctx, "go", "tool", "benchstat", "-ignore", ratio.RoundColumn,
		"-col", "/framework@("+strings.Join(names, " ")+")", filepath.Join(c.out, results.FileBench))
	cmd.Dir = c.root
	var warnings bytes.Buffer
	cmd.Stderr = &warnings
	text, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", cmd, err, &warnings)
	}
	return c.write("benchstat.txt", text)
}
