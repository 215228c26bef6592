package benchtests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"servebench/benchtests/launch"
	"servebench/benchtests/target"
	"servebench/datasets"
	"servebench/results"
)

// group is the cases that share a server: a framework with a model. Nothing is
// started before a case needs it.
type group struct {
	s      *suite
	target *target.Target
	model  *model

	tok     *datasets.TokenizerProcess
	prompts map[datasets.Task]*taskPrompts
	broken  error // what keeps every case of the group from being measured

	mu     sync.Mutex // guards srv: the signal handler stops it
	srv    launch.Server
	served string // the server's name of the model
	warm   bool   // the server has answered something
	starts int
}

// ready starts what all cases need and is not running: tokenizer and server.
// What failed once is not tried again, which could take a start's timeout for
// every case, and is told in full only the first time.
func (g *group) ready(ctx context.Context) (launch.Server, error) {
	if g.broken != nil {
		first, _, _ := strings.Cut(g.broken.Error(), "\n")
		return nil, fmt.Errorf("not measured either: %s", first)
	}
	err := g.startTokenizer(ctx)
	var srv launch.Server
	if err == nil {
		srv, err = g.server(ctx)
	}
	if err != nil && ctx.Err() == nil {
		g.broken = err
	}
	return srv, err
}

func (g *group) startTokenizer(ctx context.Context) error {
	if g.tok != nil {
		return nil
	}
	var args []string
	if g.model.dummy {
		args = []string{"--load-format", loadDummy}
	}
	tok, err := datasets.StartTokenizer(ctx, g.model.path, datasets.TokenizerOptions{Args: args})
	if err == nil {
		g.tok = tok // a nil process is no tokenizer
	}
	return err
}

// load returns the prompts of a pass: those of a task, or, where the task is
// fixed, others in every pass.
func (g *group) load(ctx context.Context, c results.Case, repeat int) (*taskPrompts, error) {
	task := datasets.Task(c.Task)
	if p := g.prompts[task]; p != nil {
		return p, nil
	}
	src := promptSource{opt: g.s.opt, model: g.model.Model, tok: g.tok}
	var p *taskPrompts
	var err error
	fixed, isFixed := task.Fixed()
	if isFixed {
		p, err = src.fixed(ctx, fixed, c, repeat)
	} else {
		p, err = src.load(ctx, task)
	}
	if err != nil {
		return nil, err
	}
	for _, f := range p.files {
		if err := g.s.run.AddDataset(f); err != nil {
			return nil, mismatch(err)
		}
	}
	if !isFixed {
		g.prompts[task] = p
	}
	return p, nil
}

// server returns the running server, starting it where there is none, or none
// any more.
func (g *group) server(ctx context.Context) (launch.Server, error) {
	if g.srv != nil {
		select {
		case <-g.srv.Exited():
		default:
			return g.srv, nil
		}
	}
	srv, info, err := g.start(ctx)
	if err != nil {
		return nil, err
	}
	g.mu.Lock()
	g.srv, g.warm = srv, false
	g.mu.Unlock()
	if err := g.s.run.AddServer(info); err != nil {
		return nil, mismatch(errors.Join(err, g.stop()))
	}
	return srv, nil
}

// start finds the server at -host, or starts one.
func (g *group) start(ctx context.Context) (launch.Server, results.Server, error) {
	info := results.Server{Framework: g.target.Name, Model: g.model.Name}
	if g.s.opt.host == "" {
		srv, err := g.startProcess(ctx, &info)
		return srv, info, err
	}
	// What the server loaded is not known, only what it was asked for.
	info.URL = g.s.opt.host
	e, err := launch.NewEndpoint(ctx, info.URL, g.target.Ready, g.s.opt.startTimeout)
	if err != nil {
		return nil, info, err
	}
	if g.served = g.s.opt.servedName; g.served == "" {
		g.served, err = target.ServedName(ctx, e.URL(), g.model.Name, g.model.Hub, g.model.path)
	}
	return e, info, err
}

// startProcess starts the framework's program and describes it.
func (g *group) startProcess(ctx context.Context, info *results.Server) (launch.Server, error) {
	if g.model.dummy && !g.target.DummyWeights {
		return nil, fmt.Errorf("%s cannot make random weights for %s", g.target.Name, g.model.Name)
	}
	if err := g.target.CheckModel(g.model.path); err != nil {
		return nil, err
	}
	if err := g.model.describe(info); err != nil {
		return nil, err
	}
	info.Dtype = g.dtype()
	program, err := g.target.Program(ctx, g.s.opt.serveBin)
	if err != nil {
		return nil, err
	}
	if info.Version, err = g.target.Version(ctx, program); err != nil {
		return nil, err
	}
	if info.Binary, err = results.HashFile(program); err != nil {
		return nil, err
	}
	port, err := launch.FreePort()
	if err != nil {
		return nil, err
	}
	c, env, err := g.configure(ctx, program, port)
	if err != nil {
		return nil, err
	}
	args := g.target.Args(c)
	info.Command, info.Env = append([]string{program}, args...), env
	if g.model.dummy {
		info.Seed = dummySeed
	}
	dir := ""
	if g.target.Litters {
		dir = c.Dir
	}
	srv, err := launch.Start(ctx, launch.Command{
		Path: program, Args: args, Env: env, Dir: dir, Log: g.logFile(),
		URL: "http://127.0.0.1:" + strconv.Itoa(port), Ready: g.target.Ready,
		StartTimeout: g.s.opt.startTimeout,
	})
	if err != nil {
		return nil, err // not a Server that holds a nil
	}
	return srv, nil
}

// configure says what the server is to serve, and with which variables.
func (g *group) configure(ctx context.Context, program string, port int) (target.Config, []string, error) {
	o := g.s.opt
	c := target.Config{
		Model: g.model.path, Served: g.model.Name, Dtype: g.dtype(), Dummy: g.model.dummy, Seed: dummySeed, Port: port,
		MaxModelLen: o.maxModelLen, MaxNumSeqs: o.maxNumSeqs, PrefixCaching: o.prefixCaching,
		IgnoreEOS: slices.ContainsFunc(o.tasks, o.ignoresEOS),
		Dir:       filepath.Join(g.s.run.Dir(), "servers"), Extra: strings.Fields(o.serveArgs),
	}
	if g.target.Prepare != nil {
		if err := g.target.Prepare(&c); err != nil {
			return c, nil, err
		}
	}
	g.served = c.Served
	if g.target.Served != nil {
		g.served = g.target.Served(c)
	}
	if g.target.Env == nil {
		return c, nil, nil
	}
	env, err := g.target.Env(ctx, program, c)
	return c, env, err
}

// dummySeed is the seed of dummy weights.
const dummySeed = 0

func (g *group) dtype() string {
	if g.s.opt.dtype != "" {
		return g.s.opt.dtype
	}
	return g.target.Dtypes[0]
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

// stop stops the server; it may be called at any time.
func (g *group) stop() error {
	g.mu.Lock()
	srv := g.srv
	g.mu.Unlock()
	if srv == nil {
		return nil
	}
	err := srv.Stop()
	if errors.Is(err, launch.ErrExited) {
		return nil // it was told when it happened
	}
	return err
}

// close ends all that the group started.
func (g *group) close(ctx context.Context) error {
	err := g.stop()
	if g.tok != nil {
		// A terminal's Ctrl-C reaches the tokenizer too, which then ends as it should.
		if end := g.tok.Close(); ctx.Err() == nil {
			err = errors.Join(err, end)
		}
		g.tok = nil
	}
	return err
}

// mismatch says what to do about a run that cannot be gone on with.
func mismatch(err error) error {
	if errors.Is(err, results.ErrMismatch) {
		return fmt.Errorf("%w; begin a new run with -resume=false", err)
	}
	return err
}
