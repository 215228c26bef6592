package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/testcontainers/testcontainers-go"
)

// Errors of containers. Each message says what was wrong and what else can be
// used: `-launch process` and `-host URL` need no Docker.
var (
	// ErrNoDocker is returned when no Docker daemon, and no Podman service,
	// answers where DOCKER_HOST and the usual sockets say.
	ErrNoDocker = errors.New("no Docker daemon can be reached")
	// ErrNoGPURuntime is returned when GPUs are asked for and the daemon cannot
	// give a container any: it has no NVIDIA Container Toolkit, or the toolkit
	// finds no driver or no such GPU.
	ErrNoGPURuntime = errors.New("the daemon cannot give a container GPUs")
	// ErrPull is returned when an image is not there and cannot be pulled: no
	// such image or tag, no access to it, no network, no space.
	ErrPull = errors.New("the image cannot be pulled")
	// ErrBuild is returned when an image cannot be built from its Dockerfile.
	ErrBuild = errors.New("the image cannot be built")
	// ErrNoUsage is returned by Usage when the daemon keeps no such figures, as a
	// rootless one without cgroup delegation.
	ErrNoUsage = errors.New("the daemon has no memory and CPU figures of the container")
)

// Networks of a container, besides the name of one that exists.
const (
	PrivateNetwork = ""     // one of its own, removed with it
	HostNetwork    = "host" // the daemon's machine's; Port is then that machine's
)

// Secret is a value that shows nowhere: it formats and encodes as "(secret)".
type Secret string

const hidden = "(secret)"

// String implements fmt.Stringer.
func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// MarshalText implements encoding.TextMarshaler, which JSON uses as well.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Mount is a folder or file of the daemon's machine that the container sees.
type Mount struct {
	Host     string // absolute path there; it must exist
	Path     string // absolute path in the container
	ReadOnly bool
}

// Ulimit is a limit of the container's processes.
type Ulimit struct {
	Name       string // as in setrlimit, without RLIMIT_ and in small letters: memlock, stack, nofile
	Soft, Hard int64  // -1 is no limit
}

// Build says how to make an image that is not pulled.
type Build struct {
	Context    string            // folder that is sent to the daemon, but for what its .dockerignore names
	Dockerfile string            // path in Context
	Args       map[string]string // of its ARG lines
	Target     string            // stage to build; "" is the last
}

// ContainerCommand says how to run a server as a container.
type ContainerCommand struct {
	// Image is a repository, as "vllm/vllm-openai", or a whole reference with a
	// tag, a digest or both; of Build, what the result is called.
	Image  string
	Tag    string // takes the place of Image's; neither is latest
	Digest string // "sha256:..." that the image must have; takes the place of Image's
	Build  *Build // build the image instead of pulling it; the daemon's cache makes a second time quick

	Entrypoint []string // nil is the image's
	Cmd        []string // arguments; nil is the image's
	Env        []string // "KEY=value"
	// SecretEnv are variables whose values are in no error, no log and no record:
	// what the server itself logs of them is written as "(secret)". While the
	// container is there, whoever may talk to the daemon can read them.
	SecretEnv map[string]Secret
	User      string // "uid:gid"; "" is the image's
	Mounts    []Mount

	Port  int    // that the server listens on, in the container
	Ready string // route that answers 2xx once it can serve
	Log   string // file for its standard output and error; its folder is made

	GPUs    string // "" is none, "all", or numbers and UUIDs with commas: "0,2"
	CPUs    string // cores it may use, as "0-3,6"; "" is all
	ShmSize int64  // bytes of /dev/shm; 0 is the daemon's default, mostly 64 MiB
	Ulimits []Ulimit
	// CapAdd and SecurityOpt are what it needs beyond a container's usual rights, as Docker writes it.
	CapAdd, SecurityOpt []string
	// NetworkMode is PrivateNetwork, HostNetwork, or the name of a network.
	NetworkMode string

	StartTimeout time.Duration // from start to ready, the pull not counted; 0 is DefaultStartTimeout
	StopTimeout  time.Duration // from SIGTERM to SIGKILL; 0 is DefaultStopTimeout
	Progress     io.Writer     // gets lines on pull and build; nil: nobody wants them
}

// ContainerUsage is what a container uses.
type ContainerUsage struct {
	// MemoryWorkingSet is bytes that cannot be taken back without swapping: what
	// the cgroup is charged, less the file cache that was not used lately.
	MemoryWorkingSet int64
	CPU              time.Duration // CPU time of all its processes since its start
}

// Container is a server in a container that this process started.
type Container struct {
	cmd     ContainerCommand
	daemon  *daemon
	name    string // of the container, and of a network of its own
	network bool   // there is one
	handle  testcontainers.Container
	digest  string
	url     string
	pid     int
	cgroup  *cgroup // of one on this machine, else nil

	watched context.Context // ends the following of log and exit
	unwatch context.CancelFunc
	exited  chan struct{} // closed when it has ended and its log is complete
	state   error         // how it ended; read it after exited
	code    int64         // its exit status; read it after exited
	stop    sync.Once
	err     error // of Stop
}

// URL implements Server.
func (c *Container) URL() string { return c.url }

// PID implements Server: the container's first process where it runs on this
// machine's kernel and can be seen from here, else 0.
func (c *Container) PID() int { return c.pid }

// Exited implements Server.
func (c *Container) Exited() <-chan struct{} { return c.exited }

// Digest returns the image's digest in its registry, "sha256:...", or its id
// where it was built here.
func (c *Container) Digest() string { return c.digest }

// LogTail implements Server.
func (c *Container) LogTail() string { return logTail(c.cmd.Log) }

// Err returns how the container ended; nil while it runs.
func (c *Container) Err() error {
	select {
	case <-c.exited:
		return fmt.Errorf("%w: %w", ErrExited, c.state)
	default:
		return nil
	}
}
