package telemetry

import (
	"context"
	"sync/atomic"
	"time"

	"servebench/results"
)

// processes is the source that a server's process tree is.
type processes struct {
	tree    *tree // nil: nothing of the server can be read
	grow    slow
	pssDue  slow
	members atomic.Pointer[map[int]bool] // numbers of those that lived at the last sample

	rss, pss int64 // peaks
	samples  int
	notes    notes
}

// watchProcesses finds the process pid and all its descendants.
func watchProcesses(pid int, r reader) *processes {
	p := &processes{}
	t, err := newTree(r, pid)
	if err != nil {
		p.notes.add("the server's process %d cannot be read: %v", pid, err)
		return p
	}
	p.tree = t
	now := time.Now()
	p.grow.next = now.Add(slowPeriod) // newTree has just looked
	p.sample(now)
	return p
}

// String implements source.
func (p *processes) String() string { return "the server's processes" }

// run implements source. It ends early when there is nothing left to sample.
func (p *processes) run(ctx context.Context) {
	tick := time.NewTicker(period)
	defer tick.Stop()
	for p.tree != nil && p.tree.alive() {
		select {
		case <-ctx.Done():
			p.pssDue.next = time.Time{} // the last sample has everything
			p.sample(time.Now())
			return
		case now := <-tick.C:
			p.sample(now)
		}
	}
}

// sample reads memory, and looks for new processes where that is due.
func (p *processes) sample(now time.Time) {
	if err := p.grow.due(now, p.tree.grow); err != nil {
		p.notes.add("looking for new processes of the server: %v", err)
	}
	rss, err := p.tree.sample()
	if err != nil {
		p.notes.add("reading the server's processes: %v", err)
	}
	var pss int64
	err = p.pssDue.due(now, func() (err error) {
		pss, err = p.tree.pss()
		return err
	})
	if err != nil {
		p.notes.add("proportional memory: %v", err)
		p.pssDue.off = true
	}
	members := p.tree.pids()
	p.members.Store(&members)
	p.rss = max(p.rss, rss)
	p.pss = max(p.pss, pss)
	p.samples++
}

// pids returns the numbers of the processes; nil if none could ever be read.
// It may be called while run is at work.
func (p *processes) pids() map[int]bool {
	if p == nil {
		return nil
	}
	if m := p.members.Load(); m != nil {
		return *m
	}
	return nil
}

// fill implements source. The CPU time of a server that ended is left out: what
// it used after the last sample is not known.
func (p *processes) fill(u *results.Usage) {
	u.PeakRSS, u.Samples = p.rss, p.samples
	if !p.pssDue.off { // a peak of the times when it could be read is none
		u.PeakPSS = p.pss
	}
	if p.tree != nil && p.tree.ended() {
		p.notes.add("the server's process ended during the case: memory up to then, no CPU time")
	} else if p.tree != nil {
		u.ServerCPU = max(0, p.tree.cpu())
	}
	u.Notes = append(u.Notes, p.notes...)
}
