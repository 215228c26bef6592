package benchtests

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"servebench/benchtests/client"
	"servebench/benchtests/contract"
	"servebench/benchtests/target"
	"servebench/datasets"
	"servebench/results"
)

// promptsTimeout bounds the questions about a task's prompts together.
const promptsTimeout = time.Minute

// reference is what a model's frameworks are compared with, where that is
// another run: -reference.
type reference struct {
	folder *results.Folder
	env    results.Environment
	sides  []contract.Side
	passes []*results.Summary
}

// openReference reads a run; "" is none.
func openReference(dir string) (*reference, error) {
	if dir == "" {
		return nil, nil
	}
	r := &reference{}
	var err error
	if r.folder, err = results.Load(dir); err != nil {
		return nil, fmt.Errorf("-reference: %w", err)
	}
	if r.env, err = r.folder.Environment(); err != nil {
		return nil, fmt.Errorf("-reference: %w", err)
	}
	checked, err := r.folder.Checked()
	if err != nil {
		return nil, fmt.Errorf("-reference: %w", err)
	}
	if r.sides = sides(checked, r.env.Servers); len(r.sides) == 0 {
		return nil, fmt.Errorf("-reference: the run %s was made without checking the contract: give a newer one", dir)
	}
	for s, err := range r.folder.Summaries() {
		if err != nil {
			return nil, fmt.Errorf("-reference: %w", err)
		}
		r.passes = append(r.passes, s)
	}
	return r, nil
}

// sides puts together what was checked and the servers it was checked on.
func sides(checked []results.Checked, servers []results.Server) []contract.Side {
	var out []contract.Side
	for _, c := range checked {
		i := slices.IndexFunc(servers, func(s results.Server) bool { return s.Framework == c.Framework && s.Model == c.Model })
		if i >= 0 {
			out = append(out, contract.Side{Server: servers[i], Checked: c})
		}
	}
	return out
}

// referenceFor returns what a model's frameworks are compared with: of -reference, or
// else of the first framework that this run has checked; nil if there is none.
func (s *suite) referenceFor(model string) *contract.Side {
	all := sides(s.run.Checked(), s.run.Servers())
	if s.ref != nil {
		all = s.ref.sides
	}
	i := slices.IndexFunc(all, func(c contract.Side) bool { return c.Server.Model == model })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// checkContract finds out what the pass has to keep, as far as that is not known
// from a pass before it: the probe and the weights once for a server, the
// prompts once for a task. What a server does not tell is written down as such.
func (p *pass) checkContract(ctx context.Context) error {
	g, run := p.g, p.g.s.run
	var checked results.Checked
	i := slices.IndexFunc(run.Checked(), func(c results.Checked) bool { return c.Framework == g.target.Name && c.Model == g.model.Name })
	if i >= 0 {
		checked = run.Checked()[i]
	} else if err := p.checkServer(ctx, &checked); err != nil {
		return err
	}
	if !slices.ContainsFunc(checked.Prompts, func(c results.PromptCheck) bool { return c.Task == p.c.Task }) {
		bounded, cancel := context.WithTimeout(ctx, promptsTimeout)
		defer cancel()
		checked.Prompts = append(slices.Clip(checked.Prompts), contract.CheckPrompts(bounded, contract.PromptOptions{
			Server: p.server(), Encoder: g.target, Tokenizer: g.tok, Task: datasets.Task(p.c.Task), API: p.set.api,
			Prompts: p.set.prompts, Warmed: p.warmed,
		}))
	} else if i >= 0 {
		return nil
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err := run.SetChecked(checked); err != nil {
		return err
	}
	select {
	case <-p.srv.Exited():
		return fmt.Errorf("%w while the contract between frameworks was checked; last lines of its log:\n%s", errServerDied, p.srv.LogTail())
	default:
		return nil
	}
}

// server is where the pass's server is asked.
func (p *pass) server() contract.Server {
	return contract.Server{URL: p.srv.URL(), Served: p.g.served, Client: p.g.client()}
}

// checkServer sends the probe and compares the server with the reference.
func (p *pass) checkServer(ctx context.Context, checked *results.Checked) error {
	g, s := p.g, p.g.s
	*checked = results.Checked{Framework: g.target.Name, Model: g.model.Name}
	api := g.model.API(datasets.Chat)
	if !g.target.Chat {
		api = datasets.CompletionAPI
	}
	var err error
	checked.Probe, err = contract.RunProbe(ctx, contract.ProbeOptions{
		Client: p.client, API: api, Tokenizer: g.tok, Gone: p.srv.Exited(),
		Call: func(prompt datasets.Prompt) (client.Call, error) {
			body, err := g.target.Body(target.Request{
				Prompt: prompt, API: api, Mode: datasets.Sync, Served: g.served,
				IgnoreEOS: g.target.IgnoreEOS != "" && slices.ContainsFunc(s.opt.tasks, s.opt.ignoresEOS),
			})
			return client.Call{Route: g.target.Route(api), Body: body}, err
		},
	})
	if err != nil {
		return err
	}
	own := contract.Side{Checked: *checked}
	servers := s.run.Servers()
	if i := slices.IndexFunc(servers, func(r results.Server) bool { return r.Framework == g.target.Name && r.Model == g.model.Name }); i >= 0 {
		own.Server = servers[i]
	}
	own.Checked.Dtype = results.Dtype{Asked: own.Server.Dtype, Reported: contract.ReportedDtype(ctx, p.server())}
	if own.Server.URL == "" && !own.Server.Dummy {
		own.Checked.Dtype.File = contract.FileDtype(own.Server.Path)
	}
	ref := s.referenceFor(g.model.Name)
	if ref != nil && ref.Server.Framework == g.target.Name {
		ref = nil
	}
	own.Checked.Terms = contract.Between(ctx, ref, &own)
	if ref != nil {
		own.Checked.Reference = ref.Server.Framework
	}
	*checked = own.Checked
	return nil
}

// judge says whether a pass kept the contract.
func (s *suite) judge(sum *results.Summary) results.Contract {
	for _, c := range s.run.Checked() {
		if c.Framework == sum.Case.Framework && c.Model == sum.Case.Model {
			return contract.Judge(&c, sum, s.measuredBy(c.Reference, sum.Case))
		}
	}
	return results.Contract{}
}

// measuredBy returns the passes that a framework has over the same case, with
// the same prompts.
func (s *suite) measuredBy(framework string, c results.Case) []*results.Summary {
	c.Framework = framework
	passes := slices.Collect(s.run.Finished())
	if s.ref != nil {
		passes = s.ref.passes
		_, fixed := datasets.Task(c.Task).Fixed()
		flags := s.ref.env.Suite.Flags
		if !fixed && (cmp.Or(flags["seed"], fmt.Sprint(uint64(datasets.DefaultSeed))) != fmt.Sprint(s.opt.seed) ||
			cmp.Or(flags["prompts"], promptsAuthored) != s.opt.prompts) {
			return nil
		}
	}
	return slices.DeleteFunc(slices.Clone(passes), func(p *results.Summary) bool { return p.Case != c })
}

// goCold makes the prompts of the pass cold, as far as they are to be, and
// notes how.
func (p *pass) goCold(ctx context.Context) error {
	s, t := p.g.s, p.g.target
	_, fixed := datasets.Task(p.c.Task).Fixed()
	switch {
	case p.srv.PID() == 0 && s.opt.host != "" && !s.opt.prefixCaching:
		p.cache = contract.CacheUnknown
		return nil
	case !t.CachesAlways && (!s.opt.prefixCaching || !t.PrefixCache):
		p.cache = contract.CacheOff
		return nil
	case p.set.prefix:
		p.cache = contract.CacheShared
		return nil
	case fixed:
		p.cache = contract.CacheDrawn
		return nil
	}
	var resetter contract.Resetter
	if t.PrefixCache {
		resetter = t
	}
	prompts, cache, note, err := contract.Cold(ctx, contract.ColdOptions{
		Server: p.server(), Resetter: resetter, Tokenizer: p.g.tok, Prompts: p.set.prompts,
		Key: fmt.Sprintf("%d %s %s %s %d %d", s.opt.seed, p.c.Model, p.c.Task, p.c.Mode, p.c.Parallel, p.repeat),
	})
	if err != nil {
		return err
	}
	set := *p.set
	set.prompts = prompts
	p.set, p.cache = &set, cache
	if !t.PrefixCache {
		p.cache = contract.CacheOff
	}
	p.notes = append(p.notes, note)
	return nil
}
