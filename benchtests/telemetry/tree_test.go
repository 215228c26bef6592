package telemetry

import (
	"errors"
	"fmt"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// machine is a reader of processes that exist only in the test.
type machine struct {
	procs  map[int]proc
	denied map[int]error // what reading a process gives instead
	pssErr error
}

func (m *machine) read(pid int) (proc, error) {
	if err := m.denied[pid]; err != nil {
		return proc{}, err
	}
	p, ok := m.procs[pid]
	if !ok {
		return proc{}, fs.ErrNotExist
	}
	return p, nil
}

func (m *machine) all() ([]proc, error) {
	var all []proc
	for _, p := range m.procs {
		all = append(all, p)
	}
	return all, nil
}

func (m *machine) pss(pid int) (int64, error) {
	if m.pssErr != nil {
		return 0, m.pssErr
	}
	p, err := m.read(pid)
	return p.rss / 2, err
}

// start begins a process.
func (m *machine) start(pid, ppid int, rss int64) {
	m.procs[pid] = proc{pid: pid, ppid: ppid, start: uint64(len(m.procs) + pid*1000), rss: rss}
}

func (m *machine) run(pid int, d time.Duration) {
	p := m.procs[pid]
	p.own += d
	m.procs[pid] = p
}

// end ends a process: its parent waits for it or does not, its children go to process 1.
func (m *machine) end(pid int, waited bool) {
	p := m.procs[pid]
	delete(m.procs, pid)
	if parent, ok := m.procs[p.ppid]; ok && waited {
		parent.waited += p.cpu()
		m.procs[p.ppid] = parent
	}
	for k, c := range m.procs {
		if c.ppid == pid {
			c.ppid = 1
			m.procs[k] = c
		}
	}
}

// newMachine has process 1, a server 10 with child 11 and grandchild 12 that
// have all used CPU time before, and a stranger 20.
func newMachine() *machine {
	m := &machine{procs: make(map[int]proc), denied: make(map[int]error)}
	m.start(1, 0, 1)
	m.start(10, 1, 100)
	m.start(11, 10, 50)
	m.start(12, 11, 7)
	m.start(20, 1, 1000)
	for _, pid := range []int{10, 11, 12, 20} {
		m.run(pid, time.Hour)
	}
	return m
}

const second = time.Second

// treeCases are what happens to the tree of newMachine's process 10.
var treeCases = map[string]struct {
	during func(m *machine, look func())
	cpu    time.Duration
	rss    int64 // at the end
}{
	"nothing happens": {func(*machine, func()) {}, 0, 157},
	"all work": {func(m *machine, _ func()) {
		m.run(10, second)
		m.run(11, 2*second)
		m.run(12, 4*second)
		m.run(20, 100*second)
	}, 7 * second, 157},
	"a child ends and is waited for": {func(m *machine, look func()) {
		m.run(11, second)
		look()
		m.run(12, second)
		m.end(12, true)
		look()
		m.end(11, true)
	}, 2 * second, 100},
	"child and grandchild end between two looks": {func(m *machine, _ func()) {
		m.run(11, second)
		m.run(12, second)
		m.end(12, true)
		m.end(11, true)
		m.run(10, second)
	}, 3 * second, 100},
	"an orphan stays in the tree and ends elsewhere": {func(m *machine, look func()) {
		m.end(11, true)
		m.run(12, 2*second)
		look()
		m.run(12, second)
		look()
		m.end(12, true) // process 1 waits for it
		m.run(1, second)
	}, 3 * second, 100},
	"nobody waits": {func(m *machine, look func()) {
		m.run(11, 2*second)
		look()
		m.run(11, second) // not seen by anyone
		m.end(11, false)
	}, 2 * second, 107},
	"one of two is waited for": {func(m *machine, look func()) {
		m.start(13, 10, 3)
		m.run(13, 5*second)
		look()
		m.end(13, false)
		m.end(11, true)
	}, 5 * second, 107},
	"a new child works and stays": {func(m *machine, look func()) {
		m.start(13, 11, 3)
		m.run(13, second)
		look()
		m.run(13, second)
	}, 2 * second, 160},
	"a short child is only seen by its parent": {func(m *machine, look func()) {
		m.start(13, 11, 3)
		m.run(13, 2*second)
		m.end(13, true)
		look()
	}, 2 * second, 157},
	"a stranger is adopted with what it had used before": {func(m *machine, look func()) {
		p := m.procs[20]
		p.ppid = 10
		m.procs[20] = p
		m.run(20, second)
		look()
	}, second, 1157},
	"a number is used again": {func(m *machine, look func()) {
		m.end(12, true)
		m.procs[12] = proc{pid: 12, ppid: 1, start: 999999, rss: 5000, own: 50 * second}
		look()
	}, 0, 150},
	"a member cannot be read for a while": {func(m *machine, look func()) {
		m.run(12, second)
		look()
		m.denied[12] = fs.ErrPermission
		m.run(12, second)
		look()
		delete(m.denied, 12)
	}, 2 * second, 157},
	"a zombie": {func(m *machine, look func()) {
		m.run(12, second)
		p := m.procs[12]
		p.zombie, p.rss = true, 0
		m.procs[12] = p
		look()
		m.end(12, true)
	}, second, 150},
}

func TestTree(t *testing.T) {
	for name, test := range treeCases {
		t.Run(name, func(t *testing.T) {
			m := newMachine()
			tr, err := newTree(m, 10)
			require.NoError(t, err)
			look := func() {
				require.NoError(t, tr.grow())
				_, _ = tr.sample()
			}
			test.during(m, look)
			require.NoError(t, tr.grow())
			rss, err := tr.sample()
			require.NoError(t, err)
			assert.Equal(t, test.cpu, tr.cpu())
			assert.Equal(t, test.rss, rss)
			assert.False(t, tr.ended())
			pss, err := tr.pss()
			require.NoError(t, err)
			assert.LessOrEqual(t, pss, rss/2)
		})
	}
}

func TestTreeEnds(t *testing.T) {
	m := newMachine()
	tr, err := newTree(m, 10)
	require.NoError(t, err)
	m.end(10, true)
	rss, err := tr.sample()
	require.NoError(t, err)
	assert.Equal(t, int64(57), rss, "its children live on")
	assert.True(t, tr.ended())
	assert.True(t, tr.alive())
	m.end(12, false)
	m.end(11, false)
	_, _ = tr.sample()
	assert.False(t, tr.alive())
	assert.Zero(t, tr.cpu())

	_, err = newTree(m, 10)
	assert.True(t, gone(err))
}

// Trouble with a reader becomes notes and absent figures.
func TestWatchTrouble(t *testing.T) {
	m := newMachine()
	m.pssErr = fs.ErrPermission
	w := watch(t.Context(), Server{PID: 10}, m)
	u := w.Stop()
	assert.Equal(t, int64(157), u.PeakRSS)
	assert.Zero(t, u.PeakPSS)
	assert.Contains(t, fmt.Sprint(u.Notes), "proportional memory: permission denied")
	assert.Equal(t, u, w.Stop(), "the same again")

	m = newMachine()
	m.denied[10] = errors.New("hidden")
	u = watch(t.Context(), Server{PID: 10}, m).Stop()
	assert.Zero(t, u.PeakRSS)
	assert.Zero(t, u.ServerCPU)
	assert.Contains(t, fmt.Sprint(u.Notes), "process 10 cannot be read: hidden")

	m = newMachine()
	p := watchProcesses(10, m)
	m.denied[12] = fs.ErrPermission
	p.sample(time.Now())
	p.fill(&u)
	assert.Contains(t, fmt.Sprint(u.Notes), "reading the server's processes")
}

func TestSlow(t *testing.T) {
	var s slow
	n := 0
	f := func() error { n++; return nil }
	now := time.Now()
	for _, at := range []time.Duration{0, period, slowPeriod - 1, slowPeriod * 10} {
		require.NoError(t, s.due(now.Add(at), f))
	}
	assert.Equal(t, 2, n)
	s.off = true
	require.NoError(t, s.due(now.Add(time.Hour), f))
	assert.Equal(t, 2, n)
}
