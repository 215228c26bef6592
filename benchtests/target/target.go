package target

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// Config is what a server is to serve, in no framework's words.
type Config struct {
	Model  string // folder, .gguf file or hub id; Prepare may put another in its place
	Served string // the name that requests ask for
	Dtype  string // of weights and KV cache; one of Capabilities.Dtypes
	Dummy  bool   // random weights in the model's shapes
	Seed   uint64 // of dummy weights
	Host   string // interface to listen on; "" is the loopback one
	Port   int
	GPU    bool // computes on GPUs, else on the CPU
	// CPUs are those that the server is bound to, in order; empty: all of the machine.
	CPUs []int
	// TensorParallel is how many GPUs the model is split over; 0 is one.
	TensorParallel int
	// GPUMemory is the share of a GPU's memory that the server may take, above 0
	// and at most 1; 0 is the framework's own default.
	GPUMemory float64
	// MaxModelLen is the most tokens of prompt and output together.
	MaxModelLen int
	// MaxNumSeqs is the most requests that are computed at once; others wait.
	MaxNumSeqs int
	// MaxNumBatchedTokens is the most tokens of a step; 0 is the framework's own
	// default.
	MaxNumBatchedTokens int
	// PrefixCaching lets what a prompt begins with be kept from the prompts
	// before it. False turns it off, where the framework has it.
	PrefixCaching bool
	// IgnoreEOS lets every answer run to max_tokens, for a framework that can
	// only be told so at its start.
	IgnoreEOS bool
	Dir       string   // folder for files that the server needs; Prepare makes it
	Extra     []string // arguments passed on as they are, last
}

// local says whether the model is a folder or a file, here or in a container,
// and not a hub id.
func (c *Config) local() bool {
	_, err := os.Stat(c.Model)
	return err == nil || filepath.IsAbs(c.Model)
}

// tensorParallel returns over how many GPUs the model is split; 0 on CPUs.
func (c *Config) tensorParallel() int {
	if !c.GPU {
		return 0
	}
	return max(1, c.TensorParallel)
}

// host returns the interface to listen on.
func (c *Config) host() string { return cmp.Or(c.Host, "127.0.0.1") }

// threads returns how many CPUs there are to compute on.
func (c *Config) threads() int { return cmp.Or(len(c.CPUs), runtime.NumCPU()) }

// Capabilities are the ways in which frameworks differ, as far as a measurement
// depends on them.
type Capabilities struct {
	// IgnoreEOS says how an answer is made to run to max_tokens, as a clause
	// behind "the end of sequence is"; "" if it cannot be.
	IgnoreEOS string
	Sync      bool // an answer may come as one JSON; else in streams alone
	MinTokens bool // min_tokens is kept
	Seed      bool // the same seed gives the same text, whatever else is in flight
	// SeedStops is true when a request that samples with a seed may bring the server
	// down, so that none is sent with one.
	SeedStops    bool
	StreamUsage  bool     // stream_options.include_usage gives counts at a stream's end
	TokenPrompts bool     // a completion's prompt may be token ids
	Chat         bool     // /v1/chat/completions, with the model's template
	DummyWeights bool     // Config.Dummy
	Dtypes       []string // the first is the default
	Folders      bool     // a local model may be a folder of safetensors
	GGUF         bool     // a local model may be a .gguf file
	// NoKeepAlive is true when the server closes connections that its headers
	// say it keeps, so that each request needs one of its own.
	NoKeepAlive bool
	// PrefixCache is true when Config.PrefixCaching does something.
	PrefixCache bool
	// Litters is true when the program writes files into the folder that it is
	// started in; it is started in the run's own then.
	Litters bool
	// Serial is true when requests run one after the other, whatever is in flight.
	Serial bool
	// MultiGPU is true when Config.TensorParallel may be above 1.
	MultiGPU bool
	// FirstSampling is true when the sampling of the first request since the
	// start holds for all.
	FirstSampling bool
	// CachesAlways is true when what prompts begin with is kept whatever
	// Config.PrefixCaching says, so that prompts must differ or Reset be called.
	CachesAlways bool
	// ListsOthers is true when /v1/models lists models besides, or in place of, the
	// one that is served.
	ListsOthers bool
	// Remote is true when there is nothing to start: the target is only for
	// servers that run already. Program returns an error that says so; Version,
	// Args and Image are nil.
	Remote bool
}

// Target is a framework.
type Target struct {
	Name  string // in case names
	Ready string // route that answers 2xx once requests can be served
	// Variable names the environment variable with the path of what is run.
	Variable string
	// Binary is the name of what is run, on the PATH or in a Python environment;
	// "" for what is built.
	Binary string
	Capabilities
	// Image is how it runs in a container; nil: as a process only.
	Image *Image

	// Program returns the path of what is run. given is the user's choice, "" for none.
	Program func(ctx context.Context, given string) (string, error)
	// Version returns the program's own name of its version.
	Version func(ctx context.Context, program string) (string, error)
	// Prepare makes what the server needs besides the model and writes into the
	// config where it is; nil for nothing.
	Prepare func(*Config) error
	// Args returns the command line behind the program's name.
	Args func(Config) []string
	// Env returns the variables that the program is started with, "KEY=value",
	// besides the suite's own; nil for none.
	Env func(ctx context.Context, program string, c Config) ([]string, error)
	// Served returns the name that requests have to ask for; nil: Config.Served.
	Served func(Config) string
	// Payload returns what is sent for a request, to be written as JSON.
	Payload func(Request) any
	// Adapt changes what Capabilities say for a server that is started with a
	// config; nil: nothing. CapabilitiesFor calls it.
	Adapt func(*Capabilities, Config)
	// Load brings the model into a server that is ready at a URL; nil for those
	// that load it at their start.
	Load func(ctx context.Context, client *http.Client, baseURL string, c Config) error

	// About is where a server tells its version; the zero value: nowhere.
	About About
	// Gauges is where a server tells its load; the zero value: nowhere.
	Gauges Gauges
	// Resets are the requests that empty the prefix cache, in order; nil if
	// there are none. Reset sends them.
	Resets []Step
	// Tokens is where a server tells the token ids of a text; nil: nowhere.
	// TokenizeText asks it.
	Tokens *TokenRoute
}

// CapabilitiesFor returns the capabilities of a server started with a config.
func (t *Target) CapabilitiesFor(c Config) Capabilities {
	caps := t.Capabilities
	if t.Adapt != nil {
		t.Adapt(&caps, c)
	}
	return caps
}

// CheckModel returns why the target cannot serve a local model of that path, if
// it cannot. What is no local path is a hub id.
func (t *Target) CheckModel(path string) error {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil
	case t.Remote:
		return remote(t.Name)
	case info.IsDir() && !t.Folders:
		return fmt.Errorf("%s takes .gguf files, and %s is a folder", t.Name, path)
	case !info.IsDir() && !t.GGUF:
		return fmt.Errorf("%s takes folders of safetensors, and %s is a file", t.Name, path)
	}
	return nil
}

// Check returns what of a config the target cannot do, so that it is told before
// anything is started.
func (t *Target) Check(c Config) error {
	var errs []error
	refuse := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if t.Remote {
		return remote(t.Name)
	}
	if c.Dtype != "" && !slices.Contains(t.Dtypes, c.Dtype) {
		refuse("%s has no dtype %q: choose from %s", t.Name, c.Dtype, strings.Join(t.Dtypes, ", "))
	}
	switch {
	case c.TensorParallel < 0:
		refuse("%d GPUs: it must be 1 or more", c.TensorParallel)
	case c.TensorParallel > 1 && !c.GPU:
		refuse("a model is split over %d GPUs only where there are GPUs", c.TensorParallel)
	case c.TensorParallel > 1 && !t.MultiGPU:
		refuse("%s does not split a model over %d GPUs", t.Name, c.TensorParallel)
	}
	if c.GPUMemory < 0 || c.GPUMemory > 1 {
		refuse("%v of a GPU's memory: it must be above 0 and at most 1", c.GPUMemory)
	}
	if c.Dummy && !t.DummyWeights {
		refuse("%s cannot make random weights", t.Name)
	}
	errs = append(errs, t.CheckModel(c.Model))
	return errors.Join(errs...)
}

// remote is the error of asking a Remote target to start something.
func remote(name string) error {
	return fmt.Errorf("%s is for servers that run already: give one's URL with -host", name)
}

// All returns the known targets in order.
func All() []*Target {
	return []*Target{&custom, &vllm, &tgi, &transformers, &llamacpp, &sglang, &ollama, &openai}
}

// Names returns their names.
func Names() []string {
	var names []string
	for _, t := range All() {
		names = append(names, t.Name)
	}
	return names
}

// ByName returns a target; the error lists those that exist.
func ByName(name string) (*Target, error) {
	for _, t := range All() {
		if t.Name == name {
			return t, nil
		}
	}
	return nil, fmt.Errorf("unknown framework %q: choose from %s", name, strings.Join(Names(), ", "))
}
