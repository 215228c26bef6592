package telemetry

import (
	"errors"
	"io/fs"
	"syscall"
	"time"
)

// proc is what one reading tells of a process.
type proc struct {
	pid, ppid int
	start     uint64        // when it began, in the system's own unit: tells a number used again
	rss       int64         // resident memory, bytes
	own       time.Duration // CPU time of its threads
	waited    time.Duration // CPU time of ended descendants that it has waited for
	zombie    bool          // ended, and not waited for yet
}

func (p *proc) id() id             { return id{p.pid, p.start} }
func (p *proc) cpu() time.Duration { return p.own + p.waited }

// id names a process for good; its number alone is used again.
type id struct {
	pid   int
	start uint64
}

// reader reads processes.
type reader interface {
	// read returns one process. An error for which gone holds says that it has ended.
	read(pid int) (proc, error)
	// all returns every process that can be seen.
	all() ([]proc, error)
	// pss returns a process's proportional memory in bytes, or errors.ErrUnsupported.
	pss(pid int) (int64, error)
}

// gone reports whether a reading failed because the process is no more.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH)
}

// tree is a process and its descendants, also those whose parent has ended.
type tree struct {
	r       reader
	root    id
	rootEnd bool
	live    map[id]proc          // as last read
	before  map[id]time.Duration // CPU time of all processes when watching began
	base    time.Duration        // of it, that of the members
	retired time.Duration        // of members that ended without anybody taking over their time
}

// newTree finds pid and its descendants.
func newTree(r reader, pid int) (*tree, error) {
	p, err := r.read(pid)
	if err != nil {
		return nil, err
	}
	t := &tree{r: r, root: p.id(), live: make(map[id]proc), before: make(map[id]time.Duration)}
	procs, err := r.all()
	if err != nil {
		return nil, err
	}
	for i := range procs {
		t.before[procs[i].id()] = procs[i].cpu()
	}
	t.before[p.id()] = p.cpu()
	t.join(p)
	t.descend(procs)
	return t, nil
}

// join makes a process a member.
func (t *tree) join(p proc) {
	t.live[p.id()] = p
	t.base += t.before[p.id()]
}

// grow looks for new descendants.
func (t *tree) grow() error {
	procs, err := t.r.all()
	if err != nil {
		return err
	}
	t.descend(procs)
	return nil
}

// descend adds the members' descendants among procs.
func (t *tree) descend(procs []proc) {
	children := make(map[int][]proc)
	var queue []int
	for _, p := range procs {
		children[p.ppid] = append(children[p.ppid], p)
		if _, ok := t.live[p.id()]; ok {
			queue = append(queue, p.pid)
		}
	}
	for len(queue) > 0 {
		pid := queue[0]
		queue = queue[1:]
		for _, p := range children[pid] {
			if _, ok := t.live[p.id()]; !ok {
				t.join(p)
				queue = append(queue, p.pid)
			}
		}
	}
}

// sample reads the members anew and returns the memory of those that live.
// A member that cannot be read for now counts as it was; the error says so.
func (t *tree) sample() (rss int64, err error) {
	credit := make(map[id]time.Duration) // time that a member took over from ended ones
	var ended []proc
	for k, old := range t.live {
		p, rerr := t.r.read(k.pid)
		switch {
		case rerr == nil && p.id() == k:
			credit[k] = p.waited - old.waited
			t.live[k] = p
			rss += p.rss
		case rerr == nil || gone(rerr):
			ended = append(ended, old)
		default:
			err = rerr
			rss += old.rss
		}
	}
	t.retire(ended, credit)
	if root, ok := t.live[t.root]; !ok || root.zombie {
		t.rootEnd = true
	}
	return rss, err
}

// retire takes out members that have ended. What they had used is in their
// nearest living ancestor's time as far as somebody waited for them; what no
// ancestor took over is kept.
func (t *tree) retire(ended []proc, credit map[id]time.Duration) {
	parents := make(map[int]int, len(ended))
	for _, p := range ended {
		delete(t.live, p.id())
		parents[p.pid] = p.ppid
	}
	living := make(map[int]id, len(t.live))
	for k := range t.live {
		living[k.pid] = k
	}
	used := make(map[id]time.Duration) // by the ended, under their ancestor
	for _, p := range ended {
		ancestor := p.ppid
		for range ended { // at most as many steps as there are ended ones
			up, ok := parents[ancestor]
			if !ok {
				break
			}
			ancestor = up
		}
		used[living[ancestor]] += p.cpu() // the zero id, which takes nothing over, if none lives
	}
	for ancestor, d := range used {
		t.retired += max(0, d-credit[ancestor])
	}
}

// pss adds up the members' proportional memory. One that cannot be read makes
// the sum unknown, unless it has just ended.
func (t *tree) pss() (int64, error) {
	var sum int64
	for k, p := range t.live {
		if p.zombie {
			continue
		}
		n, err := t.r.pss(k.pid)
		if err != nil && !gone(err) {
			return 0, err
		}
		sum += n
	}
	return sum, nil
}

// cpu returns the CPU time used since watching began.
func (t *tree) cpu() time.Duration {
	sum := t.retired - t.base
	for _, p := range t.live {
		sum += p.cpu()
	}
	return sum
}

// pids returns the members' numbers.
func (t *tree) pids() map[int]bool {
	pids := make(map[int]bool, len(t.live))
	for k := range t.live {
		pids[k.pid] = true
	}
	return pids
}

// alive reports whether any member lives.
func (t *tree) alive() bool { return len(t.live) > 0 }

// ended reports whether the process that the tree began with has ended.
func (t *tree) ended() bool { return t.rootEnd }
