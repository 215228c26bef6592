package launch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
	"github.com/testcontainers/testcontainers-go"
)

// daemonTimeout is how long the daemon may take for what is not a pull and not
// the server's own time: making a container, removing it.
const daemonTimeout = 2 * time.Minute

// StartContainer runs the command and waits until it is ready. On an error, and
// when ctx ends, nothing is left: neither the container nor its network. The
// image stays. Errors are ErrNoDocker, ErrPull, ErrBuild, ErrNoGPURuntime,
// ErrExited and ErrNotReady, wrapped with what happened; the last two have the
// last lines of its log.
func StartContainer(ctx context.Context, cmd ContainerCommand) (*Container, error) {
	if err := cmd.check(); err != nil {
		return nil, fmt.Errorf("start a container: %w", err)
	}
	c := &Container{cmd: cmd, exited: make(chan struct{}), name: "servebench-" + strings.ToLower(rand.Text()[:12])}
	if err := c.start(ctx); err != nil {
		return nil, cmd.conceal(fmt.Errorf("start a container of %s: %w", cmd.Image, err))
	}
	return c, nil
}

func (c *Container) start(ctx context.Context) error {
	var err error
	if c.daemon, err = dial(ctx); err != nil {
		return err
	}
	c.daemon.sweep(ctx, c.cmd.Progress)
	image, err := c.daemon.image(ctx, &c.cmd)
	if err != nil {
		return err
	}
	c.digest = image.digest
	log, err := newLog(c.cmd.Log, c.cmd.SecretEnv)
	if err != nil {
		return err
	}
	c.watched, c.unwatch = context.WithCancel(context.Background())
	err = c.create(ctx, image.reference)
	if err == nil {
		err = c.run(ctx, log)
	}
	if err != nil {
		log.Close()
		return errors.Join(c.explain(err), c.remove())
	}
	ready, cancel := context.WithTimeoutCause(ctx, c.cmd.StartTimeout, fmt.Errorf("%w after %v", ErrNotReady, c.cmd.StartTimeout))
	defer cancel()
	if err = c.address(ready); err == nil {
		err = waitReady(ready, c.url+c.cmd.Ready, c.cmd.StartTimeout, c.exited)
	}
	if err != nil {
		if errors.Is(err, ErrExited) {
			err = c.Err()
		}
		c.Stop()
		return fmt.Errorf("%w\nlast lines of %s:\n%s", err, c.cmd.Log, c.LogTail())
	}
	c.locate(ctx)
	return nil
}

// create makes the container and its network. It does not heed ctx midway: a
// daemon goes on with a request whose client is gone, and what it then makes
// would be left behind.
func (c *Container) create(ctx context.Context, image string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), daemonTimeout)
	defer cancel()
	mode := c.cmd.NetworkMode
	if mode == PrivateNetwork {
		mode, c.network = c.name, true
		labels := testcontainers.GenericLabels()
		ownLabels(labels)
		if _, err := c.daemon.api.NetworkCreate(ctx, c.name, client.NetworkCreateOptions{Driver: testcontainers.Bridge, Labels: labels}); err != nil {
			return fmt.Errorf("make its network: %w", err)
		}
	}
	labels := map[string]string{}
	ownLabels(labels)
	req := testcontainers.ContainerRequest{
		Image: image, Name: c.name, Labels: labels,
		Entrypoint: c.cmd.Entrypoint, Cmd: c.cmd.Cmd, Env: c.cmd.environment(),
		ConfigModifier:     func(config *container.Config) { config.User = c.cmd.User },
		HostConfigModifier: func(host *container.HostConfig) { c.hostConfig(host, mode) },
	}
	if mode != HostNetwork {
		req.ExposedPorts = []string{fmt.Sprintf("%d/tcp", c.cmd.Port)}
		req.Networks = []string{mode}
	}
	var err error
	if c.handle, err = c.daemon.provider.CreateContainer(ctx, req); err != nil {
		return err
	}
	return nil
}

// environment returns all variables, the secret ones as they are.
func (c *ContainerCommand) environment() map[string]string {
	env := map[string]string{}
	for _, e := range c.Env {
		name, value, _ := strings.Cut(e, "=")
		env[name] = value
	}
	for name, value := range c.SecretEnv {
		env[name] = string(value)
	}
	return env
}

// hostConfig fills in what the daemon's machine gives the container.
func (c *Container) hostConfig(host *container.HostConfig, mode string) {
	host.NetworkMode = container.NetworkMode(mode)
	if mode != HostNetwork {
		// No server here asks who calls, so only those who must reach it do.
		address := netip.IPv4Unspecified()
		if c.daemon.loopback() {
			address = netip.MustParseAddr(c.daemon.host)
		}
		port, _ := network.PortFrom(uint16(c.cmd.Port), network.TCP)
		host.PortBindings = network.PortMap{port: {{HostIP: address}}}
	}
	for _, m := range c.cmd.Mounts {
		// A bind mount, unlike a volume, fails when the folder is not there, in
		// place of making an empty one that belongs to root.
		host.Mounts = append(host.Mounts, mount.Mount{Type: mount.TypeBind, Source: m.Host, Target: m.Path, ReadOnly: m.ReadOnly})
	}
	host.ShmSize = c.cmd.ShmSize
	for _, u := range c.cmd.Ulimits {
		host.Ulimits = append(host.Ulimits, &container.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	host.CpusetCpus = c.cmd.CPUs
	host.CapAdd, host.SecurityOpt = c.cmd.CapAdd, c.cmd.SecurityOpt
	host.DeviceRequests = deviceRequests(c.cmd.GPUs, c.daemon.podman)
}

// deviceRequests asks for GPUs as `docker run --gpus` does; of Podman, which has
// no such driver, through the Container Device Interface.
func deviceRequests(gpus string, podman bool) []container.DeviceRequest {
	if gpus == "" {
		return nil
	}
	request := container.DeviceRequest{Capabilities: [][]string{{"gpu"}}}
	switch {
	case podman:
		request.Driver = "cdi"
		for id := range strings.SplitSeq(gpus, ",") {
			request.DeviceIDs = append(request.DeviceIDs, "nvidia.com/gpu="+id)
		}
	case gpus == "all":
		request.Count = -1
	default:
		request.DeviceIDs = strings.Split(gpus, ",")
	}
	return []container.DeviceRequest{request}
}

// run starts the container, and follows its log and its end.
func (c *Container) run(ctx context.Context, log *serverLog) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(daemonTimeout, c.cmd.StartTimeout))
	defer cancel()
	if err := c.handle.Start(ctx); err != nil {
		return err
	}
	go c.watch(log)
	return nil
}

// explain says what a daemon's error means.
func (c *Container) explain(err error) error {
	if strings.Contains(err.Error(), "reaper: ") {
		return fmt.Errorf("%w\nRyuk, the container that removes what a killed suite leaves behind, cannot run; TESTCONTAINERS_RYUK_DISABLED=true does without, and the next start then removes it", err)
	}
	if c.cmd.GPUs == "" {
		return err
	}
	// The daemon's words for it are all there is: Docker without the toolkit,
	// the toolkit without a driver or such a GPU, Podman without a CDI file.
	for _, sign := range []string{"could not select device driver", "nvidia-container", "nvidia.com/gpu", "libnvidia-ml"} {
		if strings.Contains(err.Error(), sign) {
			return fmt.Errorf("%w (GPUs %s): %w\ninstall the NVIDIA Container Toolkit on the daemon's machine, then `nvidia-ctk runtime configure` (Docker) or `nvidia-ctk cdi generate` (Podman); %s",
				ErrNoGPURuntime, c.cmd.GPUs, err, elsewhere)
		}
	}
	return err
}

// address finds where the server is reached.
func (c *Container) address(ctx context.Context) error {
	at := func(port uint16) {
		c.url = "http://" + net.JoinHostPort(c.daemon.host, strconv.Itoa(int(port)))
	}
	if c.cmd.NetworkMode == HostNetwork {
		at(uint16(c.cmd.Port))
		return nil
	}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		port, err := c.handle.MappedPort(ctx, fmt.Sprintf("%d/tcp", c.cmd.Port))
		if err == nil && port.Num() != 0 {
			at(port.Num())
			return nil
		}
		// One that has ended has no ports, and its end is told soon.
		select {
		case <-c.exited:
			return ErrExited
		case <-ctx.Done():
			return fmt.Errorf("%w; port %d of the container is not published: %v", context.Cause(ctx), c.cmd.Port, err)
		case <-tick.C:
		}
	}
}

// locate finds the container's first process and cgroup, if they are this
// machine's: a daemon behind a local socket may run in a virtual machine, whose
// numbers mean other processes here.
func (c *Container) locate(ctx context.Context) {
	if !c.daemon.here() {
		return
	}
	info, err := c.handle.Inspect(ctx)
	if err != nil || info.State == nil {
		return
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", info.State.Pid))
	if err != nil || !strings.Contains(string(groups), info.ID) {
		return
	}
	c.pid, c.cgroup = info.State.Pid, findCgroup("/sys/fs/cgroup", string(groups))
}

// Stop implements Server: it asks the server to end (SIGTERM), kills it when it
// does not in time, and removes the container and its network. It returns an
// error when the server had ended before, had to be killed, or something is left.
func (c *Container) Stop() error {
	c.stop.Do(func() { c.err = c.cmd.conceal(c.end()) })
	return c.err
}

func (c *Container) end() error {
	err := c.Err()
	if err == nil {
		err = c.terminate()
	}
	return errors.Join(err, c.remove())
}

// terminate ends the server, and returns when its log is complete.
func (c *Container) terminate() error {
	ctx, cancel := context.WithTimeout(context.Background(), c.cmd.StopTimeout+daemonTimeout)
	defer cancel()
	begin := time.Now()
	grace := int(math.Ceil(c.cmd.StopTimeout.Seconds()))
	if _, err := c.daemon.api.ContainerStop(ctx, c.name, client.ContainerStopOptions{Timeout: &grace}); err != nil {
		return fmt.Errorf("stop container %s: %w", c.name, err)
	}
	select {
	case <-c.exited:
	case <-ctx.Done():
		return fmt.Errorf("container %s did not even end within %v of SIGKILL", c.name, daemonTimeout)
	}
	const killed = 128 + 9
	if c.code == killed && time.Since(begin) >= c.cmd.StopTimeout {
		return fmt.Errorf("%s did not end within %v of SIGTERM and was killed", c.cmd.Image, c.cmd.StopTimeout)
	}
	return nil
}

// remove removes container and network, running or not, there or not.
func (c *Container) remove() error {
	defer c.unwatch()
	ctx, cancel := context.WithTimeout(context.Background(), daemonTimeout)
	defer cancel()
	// By name, which also finds one whose making was answered with an error.
	err := c.daemon.removeContainer(ctx, c.name)
	if c.handle != nil {
		// It is gone; this lets go of Ryuk.
		c.handle.Terminate(ctx, testcontainers.StopTimeout(0))
	}
	if c.network {
		err = errors.Join(err, c.daemon.removeNetwork(ctx, c.name))
	}
	if err != nil {
		return fmt.Errorf("%w\nremove by hand: docker rm -fv %s; docker network rm %[2]s", err, c.name)
	}
	return nil
}

func (d *daemon) removeContainer(ctx context.Context, name string) error {
	_, err := d.api.ContainerRemove(ctx, name, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	// A conflict is a removal that another client has begun.
	if err == nil || errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil
	}
	return fmt.Errorf("remove container %s: %w", name, err)
}

// removeNetwork waits while the daemon still takes the container off it.
func (d *daemon) removeNetwork(ctx context.Context, name string) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for range 100 {
		_, err := d.api.NetworkRemove(ctx, name, client.NetworkRemoveOptions{})
		if err == nil || errdefs.IsNotFound(err) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("remove network %s: %w", name, err)
		case <-tick.C:
		}
	}
	return fmt.Errorf("remove network %s: something is still on it", name)
}

// makeFolder makes the folder of a file.
func makeFolder(file string) error { return os.MkdirAll(filepath.Dir(file), 0o755) }
