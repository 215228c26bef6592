package hub

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"
)

// The reasons a repository or a file cannot be had, for errors.Is.
var (
	// ErrOffline is returned when HF_HUB_OFFLINE is set and the cache lacks something.
	ErrOffline = errors.New("offline (HF_HUB_OFFLINE is set)")
	// ErrUnreachable is returned when the hub does not answer, or keeps
	// answering 429 or 5xx, and the cache lacks something.
	ErrUnreachable = errors.New("hub unreachable")
	// ErrNotFound is returned when the hub has no such repository, revision or file.
	ErrNotFound = errors.New("not found on the hub")
	// ErrGated is returned when the hub refuses access: a licence to accept, a
	// private repository, or a token that is missing or wrong.
	ErrGated = errors.New("access refused by the hub")
	// ErrCorrupt is returned when a file keeps arriving with a checksum or
	// length other than announced.
	ErrCorrupt = errors.New("download corrupt")
)

// Kind is the kind of a repository.
type Kind string

// The kinds of repositories.
const (
	Model   Kind = "model"
	Dataset Kind = "dataset"
)

// Repo names a repository at a revision.
type Repo struct {
	Kind     Kind
	ID       string // "org/name", or "name" for a few old models
	Revision string // branch, tag or commit; "" is main
}

// Files say which files of a repository are meant, as patterns in path.Match's
// syntax on the whole path ("*" does not match a "/").
type Files struct {
	Need []string // each must match at least one file
	Want []string // taken where the repository has them
}

// Client talks to a hub and keeps its cache. FromEnv makes one; a zero field
// has the default told beside it. It may be used from several goroutines.
type Client struct {
	Endpoint string            // https://huggingface.co
	Cache    string            // folder of the cache, must be set
	Token    string            // sent to Endpoint's host only; "" for none
	Offline  bool              // never use the network
	Log      io.Writer         // progress and notes; nil is os.Stderr
	Idle     time.Duration     // longest time without a byte; 0 is 30 s
	HTTP     http.RoundTripper // nil is a transport of the client's own
}

// FromEnv makes a client from the environment variables that Hugging Face's
// own library reads: HF_ENDPOINT, HF_HUB_CACHE, HF_HOME, HF_TOKEN, HF_HUB_OFFLINE.
func FromEnv() (*Client, error) { return nil, errors.ErrUnsupported }

// Snapshot makes sure that the files are in the cache and returns the folder
// of the snapshot, in which they lie under their paths in the repository.
// When the hub cannot be reached and the cache has the files needed, the
// cached snapshot is returned.
func (c *Client) Snapshot(ctx context.Context, r Repo, f Files) (dir string, err error) {
	return "", errors.ErrUnsupported
}

// Cached returns the folder of the snapshot that the cache has for the
// repository's revision, and whether every pattern of f.Need has a file in
// it. It uses no network.
func (c *Client) Cached(r Repo, f Files) (dir string, ok bool) { return "", false }

// ValidID reports whether id can name a repository: "org/name" or "name".
func ValidID(id string) bool { return false }
