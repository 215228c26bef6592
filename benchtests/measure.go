package benchtests

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"servebench/benchtests/client"
	"servebench/benchtests/contract"
	"servebench/benchtests/launch"
	"servebench/benchtests/load"
	"servebench/benchtests/target"
	"servebench/benchtests/telemetry"
	"servebench/datasets"
	"servebench/results"
)

// errServerDied ends a pass whose server is gone.
var errServerDied = errors.New("the server died")

// minWarm is the least number of warm-up requests that a server gets before
// its first case. Before each later one it gets as many as will be in flight.
const minWarm = 4

// pass is one measurement of a case.
type pass struct {
	g      *group
	c      results.Case
	repeat int
	srv    launch.Server
	client *client.Client
	set    *taskPrompts
	notes  []string
	warmed []results.Request // answers to the warm-up prompts
	cache  string            // results.Options.Cache
}

// measure runs one pass over a case and writes it to the run: as many requests
// as more allows. The error is errServerDied, with the summary of what was
// measured until then, or whatever kept the pass from being measured; then
// nothing was written.
func (s *suite) measure(ctx context.Context, g *group, c results.Case, repeat int, more func() bool) (*results.Summary, error) {
	p := &pass{g: g, c: c, repeat: repeat}
	var err error
	if p.srv, err = g.ready(ctx); err != nil {
		return nil, err
	}
	if p.set, err = g.load(ctx, c, repeat); err != nil {
		return nil, err
	}
	p.client, err = client.New(client.Options{
		BaseURL: p.srv.URL(), Connections: c.Parallel, Epoch: s.epoch, Timeout: s.opt.requestTimeout,
		NoKeepAlive: g.target.NoKeepAlive, APIKey: string(s.opt.apiKey()),
	})
	if err != nil {
		return nil, err
	}
	defer p.client.Close()
	for _, prepare := range []func(context.Context) error{p.warmUp, p.checkContract, p.goCold} {
		if err := prepare(ctx); err != nil {
			return nil, err
		}
	}

	began := time.Now()
	watch := telemetry.Watch(ctx, g.sources(p.srv))
	reqs, died, err := p.send(ctx, p.set.prompts, more)
	usage := watch.Stop()
	if err != nil {
		return nil, err
	}
	p.recount(ctx, reqs)
	p.explain(s, reqs)
	sum, err := s.finish(reqs, results.Options{
		Start: results.FromSent, Began: began, Dummy: g.model.dummy, Usage: usage, Notes: p.notes, Cache: p.cache, SLO: s.opt.goodput,
	})
	if err == nil && died {
		err = fmt.Errorf("%w after %d requests; last lines of its log:\n%s", errServerDied, len(reqs), p.srv.LogTail())
	}
	return sum, err
}

// finish judges whether the suite was the limit and writes the pass.
func (s *suite) finish(reqs []results.Request, o results.Options) (*results.Summary, error) {
	c := reqs[0].Case
	top := s.ceilings[ceilingKey{datasets.Mode(c.Mode), c.Parallel}]
	preview := results.Summarize(reqs, o)
	chunks := 0
	for i := range reqs {
		if reqs[i].Error == "" {
			chunks += len(reqs[i].Chunks)
		}
	}
	if verdict := top.judge(&preview, chunks); verdict != "" {
		o.Notes = append(o.Notes, verdict)
	}
	o.Notes = append(o.Notes, top.String())
	o.Contract = s.judge(&preview)
	return s.run.Add(reqs, o)
}

// warmUp sends prompts that are in no measured set, in the case's own way.
func (p *pass) warmUp(ctx context.Context) error {
	n := p.c.Parallel
	if !p.g.warm {
		n = max(minWarm, n)
		p.g.warm = true
	}
	reqs, died, err := p.send(ctx, p.set.warm, func() bool { n--; return n >= 0 })
	if err != nil {
		return err
	}
	p.warmed = reqs
	failed, first := 0, ""
	for _, r := range reqs {
		if r.Error != "" {
			failed++
			first = cmp.Or(first, r.Error+": "+r.Detail)
		}
	}
	switch {
	case died:
		return fmt.Errorf("%w while it was warmed up: %s; last lines of its log:\n%s", errServerDied, first, p.srv.LogTail())
	case failed > 0:
		p.notes = append(p.notes, fmt.Sprintf("%d of %d warm-up requests failed, the first with %s", failed, len(reqs), first))
	}
	return nil
}

// send sends the prompts in their order, again from the first when they are
// used up, and returns the records in the order of dispatch. It stops when the
// server dies.
func (p *pass) send(ctx context.Context, prompts []datasets.Prompt, more func() bool) (reqs []results.Request, died bool, err error) {
	calls, err := p.calls(prompts)
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.srv.Exited():
			cancel(errServerDied)
		case <-ctx.Done():
		}
	}()

	type sent struct {
		load.Dispatch
		*client.Exchange
	}
	var mu sync.Mutex
	var all []sent          // decoded when nothing is being measured any more
	var refused atomic.Bool // a connection was: nobody listens any more, whether or not the process is gone
	model := load.Closed{Workers: p.c.Parallel}
	_, err = model.Run(ctx, p.client.Now, func() bool { return !refused.Load() && more() }, func(ctx context.Context, d load.Dispatch) {
		x := p.client.Do(ctx, calls[d.Index%len(calls)])
		if errors.Is(x.Err, syscall.ECONNREFUSED) {
			refused.Store(true)
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, sent{d, x})
	})
	died = refused.Load() || p.hasDied(err, func() bool {
		return slices.ContainsFunc(all, func(s sent) bool { return s.Err != nil })
	})
	if err != nil && !died {
		return nil, false, err
	}
	slices.SortFunc(all, func(a, b sent) int { return cmp.Compare(a.Index, b.Index) })
	reqs = make([]results.Request, len(all))
	for i, s := range all {
		prompt := &prompts[s.Index%len(prompts)]
		r := &reqs[i]
		*r = results.Request{
			Case: p.c, Repeat: p.repeat, Index: s.Index, Prompt: prompt.ID, Scheduled: s.Scheduled,
			PreparedTokens: prompt.PromptTokens(p.set.api), MaxTokens: prompt.MaxTokens, RecountedTokens: -1,
		}
		s.Decode(r)
		if died && s.Err != nil && r.Error != "" {
			r.Error = results.ClassServerDied
		}
	}
	if len(reqs) == 0 {
		return nil, died, fmt.Errorf("no request was sent: %w", cmp.Or(err, errServerDied))
	}
	return reqs, died, nil
}

// deathGrace is how long a process may take to be gone after its connections are.
const deathGrace = time.Second

// hasDied reports whether the server is gone. A process that dies closes its
// connections a moment before its parent is told.
func (p *pass) hasDied(err error, broken func() bool) bool {
	if errors.Is(err, errServerDied) {
		return true
	}
	if err != nil || !broken() || p.srv.Exited() == nil {
		return false
	}
	select {
	case <-p.srv.Exited():
		return true
	case <-time.After(deathGrace):
		return false
	}
}

// calls writes the prompts' requests.
func (p *pass) calls(prompts []datasets.Prompt) ([]client.Call, error) {
	mode := datasets.Mode(p.c.Mode)
	calls := make([]client.Call, len(prompts))
	for i, prompt := range prompts {
		body, err := p.g.target.Body(target.Request{
			Prompt: prompt, API: p.set.api, Mode: mode, Served: p.g.served, SharedPrefix: p.set.prefix,
			IgnoreEOS: p.g.target.IgnoreEOS != "" && p.g.s.opt.ignoresEOS(datasets.Task(p.c.Task)),
		})
		if err != nil {
			return nil, err
		}
		calls[i] = client.Call{Route: p.g.target.Route(p.set.api), Body: body, Stream: mode == datasets.Stream}
	}
	return calls, nil
}

// recount counts the tokens of the completed requests' text with the model's
// own tokenizer.
func (p *pass) recount(ctx context.Context, reqs []results.Request) {
	var texts []string
	var done []*results.Request
	for i := range reqs {
		if reqs[i].Error == "" {
			texts, done = append(texts, reqs[i].Text), append(done, &reqs[i])
		}
	}
	counts, err := p.g.tok.Count(ctx, texts, false)
	if err != nil {
		p.notes = append(p.notes, "output tokens were not recounted: "+err.Error())
		return
	}
	for i, r := range done {
		r.RecountedTokens = counts[i]
	}
}

// explain notes what a reader of the row should know.
func (p *pass) explain(s *suite, reqs []results.Request) {
	note := func(format string, args ...any) { p.notes = append(p.notes, fmt.Sprintf(format, args...)) }
	if have := len(p.set.prompts); len(reqs) > have {
		note("%d requests of %d prompts: they repeat", len(reqs), have)
	}
	switch {
	case s.opt.host != "":
		note("a server that runs elsewhere: what its caches hold and its weights are not known")
	case p.cache == contract.CacheShared:
		note("the prefix cache had the shared prefix, from the warm-up")
	}
	if s.gpus != nil && (s.opt.sharedGPU || s.opt.host != "") {
		note("others may have used the GPUs too: their utilisation, power, energy and device memory are not the server's alone")
	}
	d := p.demands()
	p.notes = append(p.notes, adaptations(p.g.target.Capabilities, p.c, d)...)
	if short := lengths(reqs); d.ignoreEOS && short != "" {
		note("%s", short)
	}
}

// lengths returns what is wrong with the lengths of completed answers that were
// to run to max_tokens, if anything.
func lengths(reqs []results.Request) string {
	others, least, most := 0, 0, 0
	for i := range reqs {
		r := &reqs[i]
		n := cmp.Or(r.OutputTokens, max(0, r.RecountedTokens))
		if r.Error != "" || n == r.MaxTokens {
			continue
		}
		if others++; others == 1 {
			least = n
		}
		least, most = min(least, n), max(most, n)
	}
	if others == 0 {
		return ""
	}
	return fmt.Sprintf("OTHER LENGTHS: %d of %d answers have %d to %d tokens, not those asked for", others, len(reqs), least, most)
}
