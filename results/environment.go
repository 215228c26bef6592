package results

import (
	"context"
	"time"

	"servebench/results/machine"
)

// Environment is environment.json: what a run was made with. It never holds a secret.
type Environment struct {
	Format   int             `json:"format"` // of the run folder; 1
	Started  time.Time       `json:"started"`
	Resumed  []time.Time     `json:"resumed,omitempty"`
	Machine  machine.Machine `json:"machine"`
	Go       string          `json:"go"` // runtime.Version
	MaxProcs int             `json:"gomaxprocs"`
	Git      Git             `json:"git"`
	Suite    Suite           `json:"suite"`
	Servers  []Server        `json:"servers,omitempty"`
	Datasets []File          `json:"datasets,omitempty"`
	Warnings []string        `json:"warnings,omitempty"` // what could not be found out
}

// Git is the state of the checkout; zero where there is none.
type Git struct {
	Commit string `json:"commit,omitempty"`
	Dirty  bool   `json:"dirty"`
	// Changes is a hash of what differs from Commit, untracked files included.
	Changes string `json:"changes,omitempty"`
}

// Suite is how the suite was started.
type Suite struct {
	Flags map[string]string `json:"flags"` // those that were set
	Env   map[string]string `json:"env"`   // variables that change speed, from a fixed list
}

// Server is one server that cases were measured on.
type Server struct {
	Framework string   `json:"framework"`
	Model     string   `json:"model"` // as in Case.Model
	Version   string   `json:"version,omitempty"`
	Command   []string `json:"command,omitempty"` // with all flags; secrets are struck out
	URL       string   `json:"url,omitempty"`     // of a server that the suite did not start
	Path      string   `json:"model_path,omitempty"`
	Revision  string   `json:"model_revision,omitempty"`
	Dtype     string   `json:"dtype,omitempty"`
	Weights   Digest   `json:"weights"`
	Dummy     bool     `json:"dummy"`          // weights are seeded noise, Weights is empty
	Seed      uint64   `json:"seed,omitempty"` // of dummy weights
	Tokenizer Digest   `json:"tokenizer"`
}

// File is a file and its content's hash.
type File struct {
	Name   string `json:"name"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Digest is a set of files and one hash over them: that of the text that
// sha256sum prints for the files, sorted by name, so that
//
//	cd DIR && LC_ALL=C sha256sum *.safetensors | sha256sum
//
// gives it again. The zero Digest is "not known".
type Digest struct {
	SHA256 string `json:"sha256,omitempty"`
	Files  []File `json:"files,omitempty"`
}

// NewEnvironment describes the machine, the checkout that dir is in, and the
// process: its Go version and the flags set on flag.CommandLine. Servers and
// Datasets are the caller's to fill. What cannot be found out is a warning in
// the result, never an error.
func NewEnvironment(ctx context.Context, dir string) Environment { return Environment{} }

// DigestWeights hashes a model's weights: path is a .gguf or .safetensors
// file, or a folder with such files. Hashes are remembered in the user's cache
// folder by path, size and modification time; a file in a Hugging Face cache
// that is stored under its SHA-256 is not read.
func DigestWeights(path string) (Digest, error) { return Digest{}, nil }

// DigestFiles hashes the files named, in the same way.
func DigestFiles(paths ...string) (Digest, error) { return Digest{}, nil }
