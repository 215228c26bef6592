package benchtests

import (
	"context"
	"errors"
	"fmt"
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
	before *int64 // bytes in use on the GPUs before the server was started; nil: not known
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
