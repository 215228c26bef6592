package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"servebench/benchtests/target"
	"servebench/datasets"
)

// workload is a task with the numbers of requests in flight to measure.
type workload struct {
	task      datasets.Task
	parallels []int
}

// parseWorkloads reads "fixed-in21-out64@1+4+16,chat@2".
func parseWorkloads(text string) ([]workload, error) {
	var out []workload
	for item := range strings.SplitSeq(text, ",") {
		name, numbers, ok := strings.Cut(strings.TrimSpace(item), "@")
		task, err := datasets.ParseTask(name)
		if err != nil {
			return nil, err
		}
		w := workload{task: task}
		for n := range strings.SplitSeq(numbers, "+") {
			parallel, err := strconv.Atoi(n)
			if !ok || err != nil || parallel < 1 {
				return nil, fmt.Errorf("case %q is not like fixed-in21-out64@1+4+16", item)
			}
			w.parallels = append(w.parallels, parallel)
		}
		if slices.ContainsFunc(out, func(o workload) bool { return o.task == task }) {
			return nil, fmt.Errorf("task %s is in the list twice", task)
		}
		out = append(out, w)
	}
	return out, nil
}

// of returns what of the workloads a framework is measured with: one that
// computes its requests one after the other gets at most serialMost at once, and
// a task that is measured with more only gets as many as that.
func of(all []workload, t *target.Target, serialMost int) []workload {
	if !t.Serial {
		return all
	}
	var out []workload
	for _, w := range all {
		few := slices.DeleteFunc(slices.Clone(w.parallels), func(n int) bool { return n > serialMost })
		if len(few) == 0 {
			few = []int{serialMost}
		}
		out = append(out, workload{w.task, few})
	}
	return out
}

// suiteFlags returns the flags that have the suite run these cases and no
// others. The suite crosses its lists; -bench takes out what nobody asked for.
func suiteFlags(all []workload, mode string) []string {
	var tasks, patterns []string
	var parallels []int
	for _, w := range all {
		tasks = append(tasks, string(w.task))
		var numbers []string
		for _, n := range w.parallels {
			numbers = append(numbers, strconv.Itoa(n))
			if !slices.Contains(parallels, n) {
				parallels = append(parallels, n)
			}
		}
		patterns = append(patterns, fmt.Sprintf("^BenchmarkServe$/.*/.*/^task=%s$/.*/^parallel=(%s)$",
			regexp.QuoteMeta(string(w.task)), strings.Join(numbers, "|")))
	}
	slices.Sort(parallels)
	var list []string
	for _, n := range parallels {
		list = append(list, strconv.Itoa(n))
	}
	return []string{"-test.bench", strings.Join(patterns, "|"), "-task", strings.Join(tasks, ","), "-mode", mode, "-concurrency", strings.Join(list, ",")}
}

// turn is one run of the suite: a server, with all cases of a model.
type turn struct {
	round     int // from 1
	model     model
	framework *target.Target
	cases     []workload
}

// name is the turn's folder.
func (t turn) name() string {
	return fmt.Sprintf("%02d-%s-%s", t.round, t.model.name, t.framework.Name)
}

// plan lists the turns in the order they are run.
func (o *options) plan() []turn {
	var turns []turn
	for round := 1; round <= o.rounds; round++ {
		for _, m := range o.models {
			order := slices.Clone(o.frameworks)
			if round%2 == 0 {
				slices.Reverse(order)
			}
			for _, f := range order {
				turns = append(turns, turn{round, m, f, of(o.cases, f, o.serialMost)})
			}
		}
	}
	return turns
}
