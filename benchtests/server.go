package benchtests

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/benchtests/launch"
	"servebench/benchtests/target"
	"servebench/benchtests/telemetry"
	"servebench/datasets/hub"
	"servebench/results"
)

// dummySeed is the seed of dummy weights.
const dummySeed = 0

// start finds the server at -host, or starts one, and describes it.
func (g *group) start(ctx context.Context) (launch.Server, results.Server, error) {
	info := results.Server{Framework: g.target.Name, Model: g.model.Name}
	how, err := g.s.opt.choose(ctx, g.target, launch.DockerAvailable)
	if err != nil {
		return nil, info, err
	}
	info.Launch, info.Reason = how.by, how.why
	tell(g.s.log, "%s of %s as %s", g.target.Name, g.model.Name, how)
	if how.by == launchEndpoint {
		srv, err := g.find(ctx, &info)
		return srv, info, err
	}
	if err := g.s.takeGPUs(ctx, g); err != nil {
		return nil, info, err
	}
	c, err := g.configure(&info)
	if err != nil {
		return nil, info, err
	}
	starter := g.startProcess
	if how.by == launchContainer {
		starter = g.startContainer
	}
	srv, err := starter(ctx, c, &info)
	if err != nil {
		return nil, info, err
	}
	if g.target.Load != nil {
		if err := g.target.Load(ctx, g.client(), srv.URL(), c); err != nil {
			return nil, info, errors.Join(err, srv.Stop())
		}
	}
	return srv, info, nil
}

// find takes the server at -host. What it loaded is not known, only what it was
// asked for.
func (g *group) find(ctx context.Context, info *results.Server) (launch.Server, error) {
	o := g.s.opt
	info.URL = o.host
	e, err := launch.NewEndpoint(ctx, o.host, launch.EndpointOptions{Ready: g.target.Ready, APIKey: o.apiKey(), Timeout: o.startTimeout})
	if err != nil {
		return nil, err
	}
	if g.served = o.servedName; g.served == "" {
		g.served, err = g.target.ServedName(ctx, g.client(), e.URL(), g.model.Name, g.model.Hub, g.model.path)
		if err != nil {
			return nil, err
		}
	}
	return e, g.askVersion(ctx, e, info)
}

// askVersion asks a running server what it is. One that does not say is no
// reason not to measure it.
func (g *group) askVersion(ctx context.Context, srv launch.Server, info *results.Server) error {
	version, err := g.target.VersionAt(ctx, g.client(), srv.URL())
	switch {
	case err == nil:
		info.Version = version
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case !errors.Is(err, errors.ErrUnsupported):
		tell(g.s.log, "its version is not known: %v", err)
	}
	return nil
}

// configure says what the server is to serve, makes what it needs besides the
// model, and fixes what is known of the framework to what it does so started.
func (g *group) configure(info *results.Server) (target.Config, error) {
	o := g.s.opt
	c := target.Config{
		Model: g.model.path, Served: g.model.Name, Dtype: g.dtype(), Dummy: g.model.dummy, Seed: dummySeed,
		GPU: o.device == deviceCUDA, CPUs: o.cpus, TensorParallel: o.tensorParallel, GPUMemory: o.gpuMemory,
		MaxModelLen: o.maxModelLen, MaxNumSeqs: o.maxNumSeqs, PrefixCaching: o.prefixCaching,
		IgnoreEOS: slices.ContainsFunc(o.tasks, o.ignoresEOS),
		Dir:       filepath.Join(g.s.run.Dir(), "servers"), Extra: strings.Fields(o.serveArgs),
	}
	if err := g.target.Check(c); err != nil {
		return c, err
	}
	if err := g.model.describe(info); err != nil {
		return c, err
	}
	info.Dtype, info.CPUs = c.Dtype, launch.FormatCPUs(o.cpus)
	if c.Dummy {
		info.Seed = dummySeed
	}
	if g.target.Prepare != nil {
		if err := g.target.Prepare(&c); err != nil {
			return c, err
		}
	}
	g.served = c.Served
	if g.target.Served != nil {
		g.served = g.target.Served(c)
	}
	fixed := *g.target
	fixed.Capabilities = g.target.CapabilitiesFor(c)
	g.target = &fixed
	return c, nil
}

// dtype returns what weights and KV cache are to be.
func (g *group) dtype() string {
	if g.s.opt.dtype != "" {
		return g.s.opt.dtype
	}
	return g.target.Dtypes[0]
}

// startProcess starts the framework's program.
func (g *group) startProcess(ctx context.Context, c target.Config, info *results.Server) (launch.Server, error) {
	o := g.s.opt
	program, err := g.target.Program(ctx, o.program(g.target))
	if err != nil {
		return nil, err
	}
	if info.Version, err = g.target.Version(ctx, program); err != nil {
		return nil, err
	}
	if info.Binary, err = results.HashFile(program); err != nil {
		return nil, err
	}
	if c.Port, err = launch.FreePort(); err != nil {
		return nil, err
	}
	var env []string
	drop := []string{o.apiKeyEnv}
	if o.venv != "" {
		add, away, err := launch.Environment(o.venv)
		if err != nil {
			return nil, err
		}
		env, drop = append(env, add...), append(drop, away...)
	}
	if g.target.Env != nil {
		more, err := g.target.Env(ctx, program, c)
		if err != nil {
			return nil, err
		}
		env = append(env, more...)
	}
	visible, err := g.s.visibleGPUs()
	if err != nil {
		return nil, err
	}
	if visible != "" {
		info.GPUs = visible
		env = append(env, "CUDA_DEVICE_ORDER=PCI_BUS_ID", "CUDA_VISIBLE_DEVICES="+visible, "NVIDIA_VISIBLE_DEVICES="+visible)
	}
	args := g.target.Args(c)
	info.Command, info.Env = append([]string{program}, args...), env
	dir := ""
	if g.target.Litters {
		dir = c.Dir
	}
	srv, err := launch.Start(ctx, launch.Command{
		Path: program, Args: args, Env: env, Drop: drop, Dir: dir, CPUs: o.cpus, Log: g.logFile(),
		URL: "http://127.0.0.1:" + strconv.Itoa(c.Port), Ready: g.target.Ready, StartTimeout: o.startTimeout,
	})
	if err != nil {
		return nil, err // not a Server that holds a nil
	}
	return srv, nil
}

// startContainer starts the framework's image.
func (g *group) startContainer(ctx context.Context, c target.Config, info *results.Server) (launch.Server, error) {
	o, image := g.s.opt, g.target.Image
	inside, mounts, err := image.Inside(c)
	if err != nil {
		return nil, err
	}
	if g.target.Served != nil { // it may ask for the model by its path
		g.served = g.target.Served(inside)
	}
	cmd := launch.ContainerCommand{
		Entrypoint: image.Entrypoint, Port: image.Port, Ready: g.target.Ready, Log: g.logFile(),
		CPUs: launch.FormatCPUs(o.cpus), ShmSize: image.ShmSize, CapAdd: image.CapAdd, SecurityOpt: image.SecurityOpt,
		StartTimeout: o.startTimeout, Progress: &comments{w: g.s.log},
		SecretEnv: map[string]launch.Secret{},
	}
	if info.Image, err = o.imageOf(g.target); err != nil {
		return nil, err
	}
	cmd.Image, cmd.Tag, cmd.Digest = splitReference(info.Image)
	if file := image.Dockerfile(c.GPU); file != "" && o.image == "" {
		cmd.Build = &launch.Build{Context: o.root, Dockerfile: file, Args: map[string]string{}}
		for arg, variable := range image.Build.Args {
			if value := os.Getenv(variable); value != "" {
				cmd.Build.Args[arg] = value
			}
		}
	}
	if image.AsUser {
		cmd.User = fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	}
	args := g.target.Args
	if image.Args != nil {
		args = image.Args
	}
	cmd.Cmd = args(inside)
	if image.Env != nil {
		cmd.Env = image.Env(inside)
	}
	for _, m := range mounts {
		cmd.Mounts = append(cmd.Mounts, launch.Mount{Host: m.Source, Path: m.Target, ReadOnly: true})
	}
	for _, u := range image.Ulimits {
		cmd.Ulimits = append(cmd.Ulimits, launch.Ulimit{Name: u.Name, Soft: u.Soft, Hard: u.Hard})
	}
	if len(mounts) == 0 {
		if err := g.mountHub(image, &cmd); err != nil {
			return nil, err
		}
	}
	if c.GPU {
		if cmd.GPUs, err = g.s.visibleGPUs(); err != nil {
			return nil, err
		}
		if cmd.GPUs == "" {
			cmd.GPUs = "all"
		}
		info.GPUs = cmd.GPUs
	}
	info.Command, info.Env = slices.Concat(cmd.Entrypoint, cmd.Cmd), cmd.Env
	srv, err := launch.StartContainer(ctx, cmd)
	if err != nil {
		return nil, err
	}
	info.Digest = srv.Digest()
	return srv, g.askVersion(ctx, srv, info)
}

// mountHub lets a container that is told a hub id read the hub's cache of this
// machine, and fetch what is missing with the user's token.
func (g *group) mountHub(image *target.Image, cmd *launch.ContainerCommand) error {
	client, err := hub.FromEnv()
	if err != nil {
		return err
	}
	if image.TokenEnv != "" && client.Token != "" {
		cmd.SecretEnv[image.TokenEnv] = launch.Secret(client.Token)
	}
	if image.Hub == "" {
		return nil
	}
	home := filepath.Dir(client.Cache) // HF_HOME, of which the cache is the folder hub
	if err := os.MkdirAll(home, 0o755); err != nil {
		return err
	}
	cmd.Mounts = append(cmd.Mounts, launch.Mount{Host: home, Path: image.Hub})
	return nil
}

// splitReference parts an image's reference into repository, tag and digest. A
// colon before the last slash is a registry's port.
func splitReference(ref string) (repository, tag, digest string) {
	ref, digest, _ = strings.Cut(ref, "@")
	if i := strings.LastIndexByte(ref, ':'); i > strings.LastIndexByte(ref, '/') {
		ref, tag = ref[:i], ref[i+1:]
	}
	return ref, tag, digest
}

// logFile returns a path in the run's folder that nothing was written to yet.
func (g *group) logFile() string {
	for {
		g.starts++
		path := filepath.Join(g.s.run.Dir(), "logs", fmt.Sprintf("%s-%s-%d.log", g.target.Name, g.model.Name, g.starts))
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return path
		}
	}
}

// comments writes lines as tell does, whatever pieces they come in.
type comments struct {
	w    io.Writer
	line []byte
}

// Write implements io.Writer.
func (c *comments) Write(text []byte) (int, error) {
	c.line = append(c.line, text...)
	for {
		i := bytes.IndexByte(c.line, '\n')
		if i < 0 {
			return len(text), nil
		}
		tell(c.w, "%s", c.line[:i])
		c.line = c.line[i+1:]
	}
}

// sources say where telemetry can read what a server takes.
func (g *group) sources(srv launch.Server) telemetry.Server {
	t := telemetry.Server{PID: srv.PID(), GPUs: g.s.gpus, GPUMemoryBefore: g.before, Load: func(ctx context.Context) (telemetry.Load, error) {
		m, err := g.target.Scrape(ctx, g.client(), srv.URL())
		return telemetry.Load(m), err
	}}
	if c, ok := srv.(*launch.Container); ok {
		t.Container = containerUsage{c}
	}
	return t
}

// containerUsage has a container's figures as package telemetry takes them.
type containerUsage struct{ c *launch.Container }

// Usage implements telemetry.Container.
func (u containerUsage) Usage(ctx context.Context) (memory int64, cpu time.Duration, err error) {
	used, err := u.c.Usage(ctx)
	return used.MemoryWorkingSet, used.CPU, err
}

// client returns what asks a server about itself, besides requests that are
// measured: with the key that -host takes, no proxy and no kept connections.
func (g *group) client() *http.Client {
	return &http.Client{Transport: launch.Authorize(&http.Transport{DisableKeepAlives: true}, g.s.opt.apiKey())}
}
