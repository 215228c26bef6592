package results

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"servebench/results/machine"
)

// Environment is environment.json: what a run was made with. It never holds a secret.
type Environment struct {
	Format   int             `json:"format"` // of the run folder
	Started  time.Time       `json:"started"`
	Resumed  []time.Time     `json:"resumed,omitempty"`
	Machine  machine.Machine `json:"machine"`
	GPU      *GPUs           `json:"gpu,omitempty"` // that servers are given; nil: none was looked at
	Go       string          `json:"go"`            // runtime.Version
	MaxProcs int             `json:"gomaxprocs"`
	Git      Git             `json:"git"`
	Suite    Suite           `json:"suite"`
	Servers  []Server        `json:"servers,omitempty"`
	Datasets []File          `json:"datasets,omitempty"`
	Warnings []string        `json:"warnings,omitempty"` // what could not be found out
}

// Suite is how the suite was started.
type Suite struct {
	Flags  map[string]string `json:"flags"`                   // those that were set
	Env    map[string]string `json:"env"`                     // variables that change speed, from envNames
	Binary string            `json:"binary_sha256,omitempty"` // of the executable
}

// Server is one server that cases were measured on.
type Server struct {
	Framework string   `json:"framework"`
	Model     string   `json:"model"` // as in Case.Model
	Version   string   `json:"version,omitempty"`
	Command   []string `json:"command,omitempty"`       // with all flags; secrets are struck out
	Env       []string `json:"env,omitempty"`           // variables set for it alone; likewise
	Binary    string   `json:"binary_sha256,omitempty"` // of the executable, where it is a file of ours
	URL       string   `json:"url,omitempty"`           // of a server that the suite did not start
	Launch    string   `json:"launch,omitempty"`        // how it was started: container, process, or endpoint where it was not
	Reason    string   `json:"launch_reason,omitempty"` // why in that way
	Image     string   `json:"image,omitempty"`         // that the container is of, with its tag
	Digest    string   `json:"image_digest,omitempty"`  // of the image: what was really run, whatever the tag says by now
	CPUs      string   `json:"cpus,omitempty"`          // that it was bound to, as 0-3,8; "" is all
	GPUs      string   `json:"gpus,omitempty"`          // that it was given, of those in Environment.GPU; "" is none
	Path      string   `json:"model_path,omitempty"`
	Revision  string   `json:"model_revision,omitempty"`
	Dtype     string   `json:"dtype,omitempty"`
	Weights   Digest   `json:"weights,omitzero"`
	Dummy     bool     `json:"dummy"`          // weights are seeded noise, Weights is empty
	Seed      uint64   `json:"seed,omitempty"` // of dummy weights
	Tokenizer Digest   `json:"tokenizer,omitzero"`
}

// envNames are the environment variables that are recorded. None holds a secret.
var envNames = []string{
	"GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GODEBUG", "GOAMD64", "CGO_ENABLED",
	"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS",
	"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES",
	"HF_HUB_OFFLINE", "LD_PRELOAD", "MALLOC_ARENA_MAX",
}

// NewEnvironment describes the machine, the checkout that dir is in, and the
// process: its Go version and the flags set on flag.CommandLine. Servers and
// Datasets come with Run.AddServer and Run.AddDataset. What cannot be found
// out is a warning in the result, never an error.
func NewEnvironment(ctx context.Context, dir string) Environment {
	e := Environment{
		Format:   format,
		Started:  time.Now().UTC().Round(time.Second),
		Go:       runtime.Version(),
		MaxProcs: runtime.GOMAXPROCS(0),
		Suite:    Suite{Flags: setFlags(flag.CommandLine), Env: make(map[string]string)},
	}
	warn := func(what string, err error) {
		if err != nil {
			e.Warnings = append(e.Warnings, what+": "+err.Error())
		}
	}
	for _, name := range envNames {
		if v, ok := os.LookupEnv(name); ok {
			e.Suite.Env[name] = v
		}
	}
	var warnings []string
	e.Machine, warnings = machine.Describe(ctx)
	e.Warnings = append(e.Warnings, warnings...)
	var err error
	e.Git, err = gitState(ctx, dir)
	warn("git", err)
	exe, err := os.Executable()
	if err == nil {
		e.Suite.Binary, err = HashFile(exe)
	}
	warn("the suite's own executable", err)
	return e
}

func readEnvironment(dir string) (Environment, error) {
	name := filepath.Join(dir, FileEnvironment)
	data, err := os.ReadFile(name)
	if err != nil {
		return Environment{}, fmt.Errorf("run folder: %w", err)
	}
	var e Environment
	if err := json.Unmarshal(data, &e); err != nil {
		return Environment{}, fmt.Errorf("%s: %w", name, err)
	}
	return e, nil
}

// setFlags returns the flags that were set, secrets struck out.
func setFlags(fs *flag.FlagSet) map[string]string {
	flags := make(map[string]string)
	fs.Visit(func(f *flag.Flag) {
		flags[f.Name] = redactValue(f.Name, f.Value.String())
	})
	return flags
}

// decides reports whether a flag has a part in what is measured. Of testing's
// own flags few have; -csv, -results and -resume say where it goes.
func decides(flag string) bool {
	if name, ok := strings.CutPrefix(flag, "test."); ok {
		return slices.Contains([]string{"bench", "benchtime", "count", "cpu", "parallel", "run", "skip"}, name)
	}
	return !slices.Contains([]string{"csv", "results", "resume"}, flag)
}

// differences returns what makes cases measured in e and now in other
// incomparable, a sentence each. Load, time and free memory do not.
func (e *Environment) differences(other *Environment) []string {
	var d diff
	d.add("format", e.Format, format)
	d.add("commit", e.Git.Commit, other.Git.Commit)
	d.add("uncommitted changes", e.Git.Changes, other.Git.Changes)
	d.add("suite's executable", e.Suite.Binary, other.Suite.Binary)
	d.add("Go", e.Go, other.Go)
	d.add("GOMAXPROCS", e.MaxProcs, other.MaxProcs)
	e.Machine.Differences(&other.Machine, d.add)
	d = append(d, e.GPU.differences(other.GPU)...)
	d.addMaps("flag -", e.Suite.Flags, other.Suite.Flags, decides)
	d.addMaps("variable ", e.Suite.Env, other.Suite.Env, func(string) bool { return true })
	for _, s := range other.Servers {
		for i := range e.Servers {
			if e.Servers[i].Framework == s.Framework && e.Servers[i].Model == s.Model {
				d = append(d, e.Servers[i].differences(&s)...)
			}
		}
	}
	for _, f := range other.Datasets {
		for _, old := range e.Datasets {
			if old.Name == f.Name {
				d.add("prompts "+f.Name, old.SHA256, f.SHA256)
			}
		}
	}
	return d
}

// differences returns what makes two servers of one framework and model incomparable.
func (s *Server) differences(other *Server) []string {
	var d diff
	d.add("version", s.Version, other.Version)
	d.add("command", strings.Join(withoutPort(s.Command), " "), strings.Join(withoutPort(redactArgs(other.Command)), " "))
	d.add("variables", strings.Join(s.Env, " "), strings.Join(redactArgs(other.Env), " "))
	d.add("executable", s.Binary, other.Binary)
	d.add("URL", s.URL, redactText(other.URL))
	d.add("launcher", s.Launch, other.Launch)
	d.add("image", s.Image, other.Image)
	d.add("image's digest", s.Digest, other.Digest)
	d.add("CPUs", s.CPUs, other.CPUs)
	d.add("GPUs", s.GPUs, other.GPUs)
	d.add("model", s.Path, other.Path)
	d.add("revision", s.Revision, other.Revision)
	d.add("dtype", s.Dtype, other.Dtype)
	d.add("weights", s.Weights.SHA256, other.Weights.SHA256)
	d.add("dummy weights", s.Dummy, other.Dummy)
	d.add("seed", s.Seed, other.Seed)
	d.add("tokenizer", s.Tokenizer.SHA256, other.Tokenizer.SHA256)
	return d
}

// withoutPort drops the ports, which are other free ones at every start.
func withoutPort(args []string) []string {
	var kept []string
	for i := 0; i < len(args); i++ {
		switch name := strings.TrimLeft(args[i], "-"); {
		case name == args[i]:
			kept = append(kept, args[i])
		case name == "port" || strings.HasSuffix(name, "-port"):
			i++ // its value
		case !strings.HasPrefix(name, "port="):
			kept = append(kept, args[i])
		}
	}
	return kept
}

// diff collects differences as sentences.
type diff []string

func (d *diff) add(what string, old, now any) {
	if old != now {
		*d = append(*d, fmt.Sprintf("%s was %s, is %s", what, short(old), short(now)))
	}
}

// addMaps compares the keys that count, in order.
func (d *diff) addMaps(what string, old, now map[string]string, counts func(string) bool) {
	var keys []string
	for _, m := range []map[string]string{old, now} {
		for k := range m {
			if counts(k) && !slices.Contains(keys, k) {
				keys = append(keys, k)
			}
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		d.add(what+k, old[k], now[k])
	}
}

func short(v any) string {
	s := fmt.Sprint(v)
	if s == "" {
		return "not set"
	}
	if len(s) == 64 && !strings.Contains(s, " ") { // a hash
		s = s[:12]
	}
	return s
}
