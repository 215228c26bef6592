package benchtests

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/benchtests/client"
	"servebench/benchtests/target"
	"servebench/datasets"
	"servebench/results"
)

// Where prompts come from, besides a folder.
const (
	promptsAuthored = "authored" // testdata/prompts
	promptsHub      = "hub"      // the datasets themselves, downloaded
)

// Where weights come from.
const (
	loadAuto  = "auto"
	loadDummy = "dummy"
)

// fixedTask is the name that -input-len and its fellows stand behind.
const fixedTask = "fixed"

// minNumSeqs is the least that -max-num-seqs is when it is not given.
const minNumSeqs = 16

// maxParallel is far above what a closed loop of one client process can keep in flight.
const maxParallel = 4096

// flagValues are the suite's flags as they were given.
type flagValues struct {
	framework, model, task, mode, parallel, concurrency string
	host, servedName, csv, results, prompts, reference  string
	serveBin, serveArgs, dtype, loadFormat              string
	device, gpus, cpuList                               string
	launch, venv, image, apiKeyEnv, slo                 string
	repeat, numPrompts, maxModelLen, maxNumSeqs         int
	fixed                                               datasets.Fixed
	seed                                                uint64
	throughputOnly, ignoreEOS, resume, prefixCaching    bool
	sharedGPU                                           bool
	tensorParallel                                      int
	gpuMemory                                           float64
	requestTimeout, startTimeout                        time.Duration
}

// register adds the suite's flags to those of go test.
func register(fs *flag.FlagSet) *flagValues {
	v := &flagValues{}
	fs.StringVar(&v.framework, "framework", "", fmt.Sprintf("frameworks to measure, separated by commas (default: on CPUs and at -host %s, on GPUs %s)", defaultFrameworks[deviceCPU], defaultFrameworks[deviceCUDA]))
	fs.StringVar(&v.device, "device", defaultDevice, "what servers compute on: cpu, or, in a program built with -tags gpu, cuda")
	fs.StringVar(&v.gpus, "gpus", "", "GPUs that servers are given: indices in the order of the PCI bus, 0:1 for an instance of a partitioned one, or UUIDs, with commas (default: all)")
	fs.BoolVar(&v.sharedGPU, "shared-gpu", false, "other programs may hold memory of the GPUs: do not wait until the last server's is free again")
	fs.IntVar(&v.tensorParallel, "tensor-parallel-size", 1, "GPUs that a model is split over, where the framework can")
	fs.Float64Var(&v.gpuMemory, "gpu-memory-utilization", 0, "share of a GPU's memory that a server may take, above 0 to 1 (default: the framework's)")
	fs.StringVar(&v.launch, "launch", "", fmt.Sprintf("how servers are started: %s, %s, or %s, which is a container if there is an image and Docker, and no program is named, else a process (default: on CPUs %s, on GPUs %s)",
		launchContainer, launchProcess, launchAuto, defaultLaunch[deviceCPU], defaultLaunch[deviceCUDA]))
	fs.StringVar(&v.venv, "venv", "", "Python environment whose programs are taken before those on the PATH")
	fs.StringVar(&v.image, "image", "", "image in place of the framework's own; its server is started as a container")
	fs.StringVar(&v.cpuList, "cpus", "", "CPUs that servers are bound to, as 0-3,8 (default: all that the suite may use)")
	fs.StringVar(&v.model, "model", "", "models to measure; name=PATH takes a local folder or .gguf file (default: gpt2 if it can be had, else what can)")
	fs.StringVar(&v.task, "task", "", "tasks (default: all that have a dataset); fixed has prompts and answers of set lengths, "+
		"as -input-len, -output-len and -prefix-len say, or by name: fixed-in21-out64, fixed-prefix400-in21-out64")
	fs.IntVar(&v.fixed.Input, "input-len", 512, "tokens of a prompt of task fixed, without the shared prefix")
	fs.IntVar(&v.fixed.Output, "output-len", 128, "tokens of an answer of task fixed")
	fs.IntVar(&v.fixed.Prefix, "prefix-len", 0, "tokens that all prompts of task fixed begin with")
	fs.StringVar(&v.mode, "mode", "", "modes (default: all)")
	fs.StringVar(&v.parallel, "parallel", "", fmt.Sprintf("requests in flight (default: on CPUs %s, on GPUs %s); go test itself takes this flag and wants one number, a list goes behind -args or to -concurrency", defaultParallel[deviceCPU], defaultParallel[deviceCUDA]))
	fs.StringVar(&v.concurrency, "concurrency", "", "the same as -parallel, and a list may stand anywhere")
	fs.IntVar(&v.repeat, "repeat", 0, "passes over every case, as -count")
	fs.BoolVar(&v.throughputOnly, "throughput-only", false, "report only throughputs: tok/s and req/s")
	fs.StringVar(&v.host, "host", "", "URL of a server that runs already, of the framework named by -framework; none is started")
	fs.StringVar(&v.apiKeyEnv, "api-key-env", defaultKeyEnv, "environment variable with the key for the server at -host; it is printed and kept nowhere")
	fs.StringVar(&v.servedName, "served-model-name", "", "what the server at -host calls the model (default: it is asked)")
	fs.StringVar(&v.csv, "csv", "", "keep a copy of results.csv in this file")
	fs.StringVar(&v.results, "results", "", "folder for runs (default: results/runs)")
	fs.StringVar(&v.reference, "reference", "", "folder of a run that frameworks are compared with, before anything is measured (default: the first framework of this run)")
	fs.BoolVar(&v.resume, "resume", true, "go on with the last run if it was cut short and nothing has changed")
	fs.StringVar(&v.prompts, "prompts", promptsAuthored, "authored (testdata/prompts), hub (the datasets), or a folder with prepared files or the datasets' files")
	fs.IntVar(&v.numPrompts, "num-prompts", 0, "prompts to draw for a task (default: 100; all of the authored ones)")
	fs.Uint64Var(&v.seed, "seed", datasets.DefaultSeed, "of the draw of prompts")
	fs.IntVar(&v.maxModelLen, "max-model-len", 1024, "most tokens of prompt and output together that servers are made ready for")
	fs.IntVar(&v.maxNumSeqs, "max-num-seqs", 0, "most requests that a server computes at once (default: as many as will be in flight, at least 16)")
	fs.BoolVar(&v.prefixCaching, "enable-prefix-caching", false, "let servers keep what prompts begin with; then only prompts of fixed tasks are cold in every pass")
	fs.StringVar(&v.serveBin, "serve-bin", "", "the custom server's program (default: it is built)")
	fs.StringVar(&v.serveArgs, "serve-args", "", "arguments for the server, separated by spaces")
	fs.StringVar(&v.dtype, "dtype", "", "of weights and KV cache (default: the framework's first)")
	fs.StringVar(&v.loadFormat, "load-format", loadAuto, "auto, or dummy: random weights in the model's shapes")
	fs.StringVar(&v.slo, "slo", "", "what a request has to keep to count in goodput, any of p2ft=200ms,tpot=50ms,latency=5s; a mode is not asked for what it cannot tell")
	fs.BoolVar(&v.ignoreEOS, "ignore-eos", false, "let every answer run to max_tokens, where the framework can")
	fs.DurationVar(&v.requestTimeout, "request-timeout", client.DefaultTimeout, "a request that takes longer has failed")
	fs.DurationVar(&v.startTimeout, "start-timeout", 30*time.Minute, "a server that takes longer to be ready has failed")
	return v
}

// modelChoice is an element of -model.
type modelChoice struct {
	datasets.Model
	path string // "" where it has to be found
}

// options are the flags, checked.
type options struct {
	flagValues
	frameworks []*target.Target
	models     []modelChoice // empty: to be decided
	tasks      []datasets.Task
	modes      []datasets.Mode
	parallels  []int
	goodput    results.SLO
	launchWhy  string // why launch is what it is
	cpus       []int  // that servers are bound to; empty: no others than the suite
	root       string // of this module
}

// check reads the lists and looks for contradictions. fs is where the flags of
// go test are.
func (v *flagValues) check(fs *flag.FlagSet) (*options, error) {
	root, err := datasets.ModuleRoot()
	if err != nil {
		return nil, err
	}
	o := &options{flagValues: *v, root: root}
	o.resolvePaths()
	set := map[string]string{}
	fs.Visit(func(f *flag.Flag) { set[f.Name] = f.Value.String() })

	var errs []error
	note := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("-%s: %w", flag, err))
		}
	}
	note("device", v.checkDevice())
	o.goodput, err = results.ParseSLO(v.slo)
	note("slo", err)
	o.frameworks, err = list(v.frameworkList(), nil, target.ByName)
	note("framework", err)
	o.models, err = list(v.model, nil, o.parseModel)
	note("model", err)
	o.tasks, err = list(v.task, datasets.Tasks(), v.parseTask)
	note("task", err)
	note("task", o.checkFixed())
	o.modes, err = list(v.mode, datasets.Modes(), datasets.ParseMode)
	note("mode", err)
	o.parallels, err = list(v.parallelList(set), nil, parseParallel)
	note("parallel", err)
	if o.maxNumSeqs == 0 && len(o.parallels) > 0 {
		o.maxNumSeqs = max(minNumSeqs, slices.Max(o.parallels))
	}
	for name, n := range map[string]int{"repeat": v.repeat, "num-prompts": v.numPrompts, "max-model-len": v.maxModelLen, "max-num-seqs": v.maxNumSeqs, "tensor-parallel-size": v.tensorParallel} {
		if _, given := set[name]; given && n < 1 {
			note(name, fmt.Errorf("%d: it must be 1 or more", n))
		}
	}
	if v.gpuMemory < 0 || v.gpuMemory > 1 {
		note("gpu-memory-utilization", fmt.Errorf("%v: it must be above 0 and at most 1", v.gpuMemory))
	}
	for _, name := range []string{"framework", "model", "task", "mode"} {
		if text, given := set[name]; given && text == "" {
			note(name, errors.New("the list is empty: leave the flag out to take the default"))
		}
	}
	if fs.NArg() > 0 {
		errs = append(errs, fmt.Errorf("%q is no flag: lists have commas and no spaces", fs.Args()))
	}
	if v.loadFormat != loadAuto && v.loadFormat != loadDummy {
		note("load-format", fmt.Errorf("unknown value %q: choose from %s, %s", v.loadFormat, loadAuto, loadDummy))
	}
	for _, t := range o.frameworks {
		note("dtype", checkDtype(t, v.dtype))
	}
	if err := o.checkLaunch(); err != nil {
		errs = append(errs, err)
	}
	note("host", o.checkHost())
	note("prompts", o.checkPrompts())
	if strings.Contains(set["test.cpu"], ",") {
		note("cpu", errors.New("one value at most: the suite's own processors are no axis of the matrix"))
	}
	return o, errors.Join(errs...)
}

// resolvePaths makes the paths absolute.
func (o *options) resolvePaths() {
	if o.results == "" {
		o.results = filepath.Join(o.root, "results", "runs")
	}
	for _, p := range []*string{&o.csv, &o.results, &o.serveBin, &o.venv, &o.reference} {
		if *p != "" {
			*p = o.abs(*p)
		}
	}
	if o.prompts != promptsAuthored && o.prompts != promptsHub {
		o.prompts = o.abs(o.prompts)
	}
}

// abs resolves a path that the user typed. go test runs the suite in its
// package's folder, where nobody types: there a path begins at the module's root.
func (o *options) abs(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	dir, err := os.Getwd()
	if err != nil || dir == filepath.Join(o.root, "benchtests") {
		dir = o.root
	}
	return filepath.Join(dir, path)
}

// defaultParallel are the requests in flight on a device: fewer on CPUs, where a case
// takes longer.
var defaultParallel = map[string]string{deviceCPU: "1,4", deviceCUDA: "1,2,4"}

// parallelList finds the list: go test takes a -parallel before -args for its own.
func (v *flagValues) parallelList(set map[string]string) string {
	if v.concurrency != "" {
		return v.concurrency
	}
	if own, ok := set["test.parallel"]; ok && set["parallel"] == "" {
		return own
	}
	return cmp.Or(v.parallel, defaultParallel[v.device])
}

// list parses a comma list; an empty one is all.
func list[T any](text string, all []T, parse func(string) (T, error)) ([]T, error) {
	if text == "" {
		return all, nil
	}
	var out []T
	seen := map[string]bool{}
	for item := range strings.SplitSeq(text, ",") {
		item = strings.TrimSpace(item)
		v, err := parse(item)
		if err != nil {
			return nil, err
		}
		if seen[item] {
			return nil, fmt.Errorf("%q is in the list twice", item)
		}
		seen[item] = true
		out = append(out, v)
	}
	return out, nil
}

func (v *flagValues) parseTask(name string) (datasets.Task, error) {
	if name == fixedTask {
		return v.fixed.Task(), v.fixed.Check()
	}
	return datasets.ParseTask(name)
}

// checkFixed refuses lengths that servers are not made ready for, and tasks
// that cannot share a server: some frameworks ignore the end of sequence from
// their start on, or never.
func (o *options) checkFixed() error {
	n := 0
	for _, t := range o.tasks {
		f, ok := t.Fixed()
		if !ok {
			continue
		}
		n++
		if total := f.Prefix + f.Input + f.Output; total > o.maxModelLen {
			return fmt.Errorf("%s has %d tokens, more than -max-model-len %d", t, total, o.maxModelLen)
		}
	}
	if 0 < n && n < len(o.tasks) && !o.ignoreEOS {
		return errors.New("answers of fixed tasks run on behind the end of sequence, those of the others do not: run them apart, or give -ignore-eos")
	}
	return nil
}

// ignoresEOS reports whether the answers of a task are to run to max_tokens.
func (o *options) ignoresEOS(task datasets.Task) bool {
	_, fixed := task.Fixed()
	return fixed || o.ignoreEOS
}

func (o *options) parseModel(text string) (modelChoice, error) {
	name, path, local := strings.Cut(text, "=")
	m, err := datasets.ModelByName(name)
	if err != nil {
		return modelChoice{}, err
	}
	if !local {
		return modelChoice{Model: m}, nil
	}
	path = o.abs(path)
	if _, err := os.Stat(path); err != nil {
		return modelChoice{}, fmt.Errorf("model %s: %w", name, err)
	}
	return modelChoice{Model: m, path: path}, nil
}

func parseParallel(text string) (int, error) {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxParallel {
		return 0, fmt.Errorf("%q is not a number from 1 to %d", text, maxParallel)
	}
	return n, nil
}

func checkDtype(t *target.Target, dtype string) error {
	if dtype == "" || slices.Contains(t.Dtypes, dtype) {
		return nil
	}
	return fmt.Errorf("unknown value %q: %s takes %s", dtype, t.Name, strings.Join(t.Dtypes, ", "))
}

// checkHost refuses what makes no sense with a server that runs already.
func (o *options) checkHost() error {
	if o.host == "" {
		return nil
	}
	if _, err := client.New(client.Options{BaseURL: o.host}); err != nil {
		return err
	}
	switch {
	case len(o.frameworks) > 1:
		return errors.New("one server is of one framework: give one with -framework")
	case len(o.models) != 1:
		return errors.New("say which model the server has, one name with -model")
	case o.serveArgs != "" || o.serveBin != "":
		return errors.New("no server is started, so -serve-args and -serve-bin mean nothing")
	case o.venv != "" || o.image != "" || len(o.cpus) > 0 || o.launch != defaultLaunch[o.device]:
		return errors.New("no server is started, so -launch, -venv, -image and -cpus mean nothing")
	}
	return nil
}

func (o *options) checkPrompts() error {
	if o.prompts == promptsAuthored || o.prompts == promptsHub {
		return nil
	}
	info, err := os.Stat(o.prompts)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s is a file", o.prompts)
	}
	if err != nil {
		return fmt.Errorf("neither %s, %s nor a folder: %w", promptsAuthored, promptsHub, err)
	}
	return nil
}
