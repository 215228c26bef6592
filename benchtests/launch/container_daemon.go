package launch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
	tclog "github.com/testcontainers/testcontainers-go/log"
)

// elsewhere ends the message of an error that Docker is the reason of.
const elsewhere = "without Docker: -launch process starts the server as a process, -host URL measures one that runs"

// dialTimeout is how long a daemon may take to answer its first question.
const dialTimeout = 20 * time.Second

// daemon is the Docker daemon, or Podman's service, that containers run in.
type daemon struct {
	provider *testcontainers.DockerProvider
	api      client.APIClient
	host     string // its published ports are reached at
	podman   bool
	version  string
}

// silent takes what testcontainers says by itself: the suite's output is
// benchmark lines, and what matters of it is in errors and in Progress.
type silent struct{}

func (silent) Printf(string, ...any) {}

// beSilent is called once, as testcontainers does not guard what it sets.
var beSilent = sync.OnceFunc(func() { tclog.SetDefault(silent{}) })

// DockerAvailable returns nil if containers can be started here, else an
// ErrNoDocker that says what was tried. The daemon that was found first is the
// one for the rest of the process, and so is the error that none was.
func DockerAvailable(ctx context.Context) error {
	_, err := dial(ctx)
	return err
}

// dial finds the daemon: testcontainers.properties, DOCKER_HOST, Docker's
// context, its sockets, in this order.
func dial(ctx context.Context) (*daemon, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, dialTimeout, fmt.Errorf("no answer within %v", dialTimeout))
	defer cancel()
	type result struct {
		d   *daemon
		err error
	}
	done := make(chan result, 1)
	go func() {
		// What testcontainers finds it keeps for good, so that a caller who gives
		// up must not leave "cancelled" behind as the answer.
		d, err := connect(context.WithoutCancel(ctx))
		done <- result{d, err}
	}()
	select {
	case r := <-done:
		if r.err != nil {
			return nil, fmt.Errorf("%w: %w\nstart Docker or Podman's service, or name its address in DOCKER_HOST; %s", ErrNoDocker, r.err, elsewhere)
		}
		return r.d, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w; %s", ErrNoDocker, context.Cause(ctx), elsewhere)
	}
}

func connect(ctx context.Context) (*daemon, error) {
	beSilent()
	// A daemon that is asked for by name and does not answer is an error.
	// testcontainers would go on to the next one that it finds.
	if named := os.Getenv("DOCKER_HOST"); named != "" {
		if err := ping(ctx); err != nil {
			return nil, fmt.Errorf("DOCKER_HOST=%s: %w", named, err)
		}
	}
	d := &daemon{}
	if err := d.use(ctx); err != nil {
		return nil, err
	}
	version, err := d.api.ServerVersion(ctx, client.ServerVersionOptions{})
	if err != nil {
		return nil, err
	}
	d.version = version.Version
	for _, part := range version.Components {
		if strings.Contains(part.Name, "Podman") {
			d.podman = true
			// Its default network has another name; one is made, and left behind,
			// if that is not found.
			if err := d.use(ctx, testcontainers.WithDefaultBridgeNetwork(testcontainers.Podman)); err != nil {
				return nil, err
			}
		}
	}
	if d.host, err = d.provider.DaemonHost(ctx); err != nil {
		return nil, err
	}
	// localhost may be ::1, whose published ports have other numbers.
	if d.host == "localhost" || os.Getenv("TESTCONTAINERS_HOST_OVERRIDE") == "" && d.sameNetwork(ctx) {
		d.host = "127.0.0.1"
	}
	return d, nil
}

// sameNetwork says whether the daemon's default bridge is an interface of this
// process's own network. testcontainers takes a suite in a container for one
// whose loopback interface is not the daemon's; it is where the daemon runs in
// that container as well, or shares its network.
func (d *daemon) sameNetwork(ctx context.Context) bool {
	if !d.here() || d.podman { // Podman makes its bridge with the first container
		return false
	}
	bridge, err := d.api.NetworkInspect(ctx, testcontainers.Bridge, client.NetworkInspectOptions{})
	if err != nil {
		return false
	}
	device, err := net.InterfaceByName(bridge.Network.Options["com.docker.network.bridge.name"])
	if err != nil {
		return false
	}
	addresses, err := device.Addrs()
	if err != nil {
		return false
	}
	for _, pool := range bridge.Network.IPAM.Config {
		for _, a := range addresses {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil && pool.Subnet.Contains(prefix.Addr()) {
				return true
			}
		}
	}
	return false
}

// use makes the daemon's provider and client.
func (d *daemon) use(ctx context.Context, opts ...testcontainers.DockerProviderOption) error {
	provider, err := testcontainers.NewDockerProvider(append(opts, testcontainers.Generic2DockerOptions(testcontainers.WithLogger(silent{}))...)...)
	if err != nil {
		return err
	}
	d.provider, d.api = provider, provider.Client()
	return nil
}

func ping(ctx context.Context) error {
	api, err := client.New(client.FromEnv)
	if err != nil {
		return err
	}
	defer api.Close()
	_, err = api.Ping(ctx, client.PingOptions{})
	return err
}

// loopback says whether published ports are reached on the loopback interface;
// they are then published on no other.
func (d *daemon) loopback() bool {
	ip := net.ParseIP(d.host)
	return ip != nil && ip.IsLoopback()
}

// here says whether the daemon is spoken to through a socket of this machine, so
// that its processes may be this machine's as well.
func (d *daemon) here() bool {
	u, err := url.Parse(d.api.DaemonHost())
	return err == nil && u.Scheme == "unix"
}

// String returns what it is, for a line of progress.
func (d *daemon) String() string {
	name := "Docker"
	if d.podman {
		name = "Podman"
	}
	return fmt.Sprintf("%s %s at %s", name, d.version, d.api.DaemonHost())
}
