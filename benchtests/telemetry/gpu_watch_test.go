package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/results"
)

// card is a GPU that exists only in the test.
type card struct {
	scalars  [scalars]float64
	procs    []gpuProcess
	reasons  []string
	joules   float64
	fail     map[string]error // by scalar's name, "processes", "throttle" or "energy"
	failNext map[string]error // from the second call on
	calls    map[string]int
}

func newCard(n float64) *card {
	c := &card{fail: map[string]error{}, failNext: map[string]error{}, calls: map[string]int{}, joules: 1000}
	c.scalars = [scalars]float64{deviceMemory: 100 * n, utilization: n / 10, smClock: 1e9 * n, memoryClock: 2e9 * n, power: 50 * n, temperature: 40 + n}
	c.procs = []gpuProcess{{pid: 10, memory: int64(60 * n)}, {pid: 11, memory: int64(10 * n)}, {pid: 20, memory: int64(5 * n)}}
	return c
}

func (c *card) trouble(call string) error {
	c.calls[call]++
	if err := c.failNext[call]; err != nil && c.calls[call] > 1 {
		return err
	}
	return c.fail[call]
}

func (c *card) gpu(label string) gpu {
	g := gpu{
		label: label,
		processes: func() ([]gpuProcess, error) {
			return c.procs, c.trouble("processes")
		},
		throttle: func() ([]string, error) { return c.reasons, c.trouble("throttle") },
		energy:   func() (float64, error) { return c.joules, c.trouble("energy") },
	}
	for s := range scalars {
		g.scalars[s] = func() (float64, error) {
			if err := c.trouble(s.String()); err != nil {
				return 0, err
			}
			return c.scalars[s], nil
		}
	}
	return g
}

func newGPUs(cards ...*card) *GPUs {
	g := &GPUs{shutdown: func() error { return nil }}
	for i, c := range cards {
		g.devices = append(g.devices, c.gpu(fmt.Sprintf("GPU %d", i)))
	}
	return g
}

// on returns a pointer to v.
func on[T any](v T) *T { return &v }

// watchCards takes a look, lets something happen, and takes two more, a period apart.
func watchCards(cards []*card, procs *processes, before *int64, host bool, during func()) (*results.GPUUsage, []string) {
	w := watchGPUs(newGPUs(cards...), procs, before, host)
	began := w.last
	during()
	w.watts.at = began
	w.look(began.Add(period))
	w.look(began.Add(2 * period))
	w.stop()
	var u results.Usage
	w.fill(&u)
	return u.GPU, u.Notes
}

func TestWatchGPUs(t *testing.T) {
	one, two := newCard(1), newCard(2)
	g, notes := watchCards([]*card{one, two}, watchProcesses(10, newMachine()), nil, true, func() {
		one.scalars[deviceMemory], one.scalars[power], one.scalars[utilization] = 500, 150, 0.7
		two.reasons = []string{"sw-power-cap"}
		two.scalars[temperature] = 80
		one.joules, two.joules = 1100, 1250
		one.procs[0].memory = 160
	})
	assert.Empty(t, notes)
	assert.Equal(t, int64(700), *g.DeviceMemory, "the sum's peak")
	assert.Equal(t, int64(160+10+120+20), *g.ServerMemory, "of processes 10 and 11; 20 is a stranger")
	assert.InDelta(t, (0.15+0.45+0.45)/3, *g.Utilization, 1e-12, "mean of the GPUs' means")
	assert.InDelta(t, 1.5e9, *g.SMClock, 1)
	assert.InDelta(t, 3e9, *g.MemoryClock, 1)
	assert.InDelta(t, (200+250)/2, *g.Power, 1e-9, "trapezoids: 150 W to 250 W, then 250 W")
	assert.Equal(t, 350.0, *g.Energy, "the counters' differences")
	assert.False(t, g.Integrated)
	assert.Equal(t, 80.0, *g.Temperature)
	assert.Equal(t, "sw-power-cap:0.67", *g.Throttle)
	assert.Equal(t, 3, g.Looks)
}

// A figure whose call fails, at once or later, is absent with a note that says
// which GPU and why; the others stay. Nothing is 0.
func TestWatchGPUsEachCallFails(t *testing.T) {
	why := errors.New("ERROR_NOT_SUPPORTED")
	for _, later := range []bool{false, true} {
		for name, test := range map[string]struct {
			gone func(*results.GPUUsage) bool
			note string
		}{
			"memory":       {func(g *results.GPUUsage) bool { return g.DeviceMemory == nil && g.ServerMemory != nil }, "memory of GPU 1: "},
			"utilisation":  {func(g *results.GPUUsage) bool { return g.Utilization == nil }, "utilisation of GPU 1: "},
			"SM clock":     {func(g *results.GPUUsage) bool { return g.SMClock == nil }, "SM clock of GPU 1: "},
			"memory clock": {func(g *results.GPUUsage) bool { return g.MemoryClock == nil }, "memory clock of GPU 1: "},
			"power":        {func(g *results.GPUUsage) bool { return g.Power == nil && g.Energy != nil }, "power of GPU 1: "},
			"temperature":  {func(g *results.GPUUsage) bool { return g.Temperature == nil }, "temperature of GPU 1: "},
			"processes":    {func(g *results.GPUUsage) bool { return g.ServerMemory == nil && g.DeviceMemory != nil }, "GPU memory of the server alone is not known: processes of GPU 1: "},
			"throttle":     {func(g *results.GPUUsage) bool { return g.Throttle == nil }, "what holds the clocks of GPU 1 down: "},
			"energy":       {func(g *results.GPUUsage) bool { return g.Integrated && math.Abs(*g.Energy-30) < 1e-9 }, "energy is added up from power readings, its counter cannot be had: GPU 1: "},
		} {
			t.Run(fmt.Sprintf("%s/later=%v", name, later), func(t *testing.T) {
				one, two := newCard(1), newCard(2)
				if later {
					two.failNext[name] = why
				} else {
					two.fail[name] = why
				}
				g, notes := watchCards([]*card{one, two}, watchProcesses(10, newMachine()), nil, true, func() {})
				assert.True(t, test.gone(g), "%+v", g)
				require.Len(t, notes, 1)
				assert.True(t, strings.HasPrefix(notes[0], test.note), notes[0])
				assert.Contains(t, notes[0], why.Error())
				assert.LessOrEqual(t, two.calls[name], 2, "a call that failed is not made again")
				present := 0
				for _, there := range []bool{g.ServerMemory != nil, g.DeviceMemory != nil, g.Utilization != nil, g.SMClock != nil,
					g.MemoryClock != nil, g.Power != nil, g.Energy != nil, g.Temperature != nil, g.Throttle != nil} {
					if there {
						present++
					}
				}
				want := 8
				if name == "energy" {
					want = 9
				}
				assert.Equal(t, want, present, "the other figures stay")
			})
		}
	}
}

func TestWatchGPUsAllCallsFail(t *testing.T) {
	c := newCard(1)
	for s := range scalars {
		c.fail[s.String()] = fs.ErrPermission
	}
	c.fail["processes"], c.fail["throttle"], c.fail["energy"] = fs.ErrPermission, fs.ErrPermission, fs.ErrPermission
	g, notes := watchCards([]*card{c}, watchProcesses(10, newMachine()), on(int64(0)), true, func() {})
	assert.Equal(t, &results.GPUUsage{Looks: 3}, g)
	assert.Len(t, notes, int(scalars)+3)
	_, err := newGPUs(c).MemoryUsed()
	assert.ErrorIs(t, err, fs.ErrPermission)
}

// What the server holds where its processes cannot be told from others.
func TestWatchGPUsServerMemory(t *testing.T) {
	unseen := watchProcesses(99, newMachine()) // there is no such process
	seen := watchProcesses(10, newMachine())
	for name, test := range map[string]struct {
		procs  *processes
		before *int64
		host   bool
		fail   error
		want   *int64
		note   string
	}{
		"its processes":                     {seen, on(int64(40)), true, nil, on(int64(70)), ""},
		"none of its processes is on a GPU": {watchProcesses(12, newMachine()), on(int64(40)), true, nil, on(int64(0)), ""},
		"in a container":                    {seen, on(int64(40)), false, nil, on(int64(260)), "beyond what they held before it was started: in a container"},
		"in a container, nothing before":    {seen, nil, false, nil, nil, "in a container processes have other numbers than the driver tells, and what the GPUs held"},
		"elsewhere":                         {nil, on(int64(40)), true, nil, on(int64(260)), "its processes cannot be seen"},
		"not there":                         {unseen, on(int64(40)), true, nil, on(int64(260)), "its processes cannot be seen"},
		"not told":                          {seen, on(int64(40)), true, errors.New("no"), on(int64(260)), "processes of GPU 0: no"},
		"less than before":                  {nil, on(int64(4000)), true, nil, on(int64(0)), "beyond what they held"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCard(1)
			if test.fail != nil {
				c.fail["processes"] = test.fail
			}
			g, notes := watchCards([]*card{c}, test.procs, test.before, test.host, func() { c.scalars[deviceMemory] = 300 })
			assert.Equal(t, test.want, g.ServerMemory)
			if test.note == "" {
				assert.Empty(t, notes)
				return
			}
			require.Len(t, notes, 1)
			assert.Contains(t, notes[0], test.note)
		})
	}
}

func TestWatchGPUsCounterRunsBackwards(t *testing.T) {
	c := newCard(1)
	g, notes := watchCards([]*card{c}, nil, on(int64(0)), true, func() { c.joules = 1 })
	assert.True(t, g.Integrated)
	assert.InDelta(t, 10, *g.Energy, 1e-9, "50 W for two periods")
	assert.Contains(t, fmt.Sprint(notes), "ran backwards")
}

// The whole of a Watch: sampled while it runs, all in one Usage.
func TestWatchWithGPUs(t *testing.T) {
	c := newCard(1)
	w := watch(t.Context(), Server{PID: 10, GPUs: newGPUs(c), Container: &box{memory: []int64{5, 9}}, GPUMemoryBefore: on(int64(0))}, newMachine())
	u := w.Stop()
	require.NotNil(t, u.GPU)
	assert.GreaterOrEqual(t, u.GPU.Looks, 2)
	assert.Equal(t, 0.0, *u.GPU.Energy, "nothing was used, and that is known")
	assert.Equal(t, int64(157), u.PeakRSS)
	assert.Equal(t, int64(9), u.ContainerMemory)
	assert.Equal(t, 500*time.Millisecond, u.ContainerCPU)
	assert.Equal(t, u, w.Stop())
}

// A container whose processes cannot be seen stands in for them, which a note says.
func TestWatchContainerAlone(t *testing.T) {
	u := Watch(t.Context(), Server{Container: &box{memory: []int64{5, 9}}}).Stop()
	assert.Zero(t, u.PeakRSS)
	assert.Equal(t, int64(9), u.ContainerMemory)
	require.Len(t, u.Notes, 1)
	assert.Contains(t, u.Notes[0], "are those of the server's container")
	assert.Nil(t, u.GPU)
}

// stuck is a source that never ends.
type stuck struct{ gpuWatch }

func (*stuck) run(context.Context) { select {} }
func (*stuck) fill(*results.Usage) { panic("it is still at work") }

// What hangs is given up, and takes nothing else along.
func TestWatchGivesUp(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	w := &Watcher{cancel: cancel, done: make(chan struct{})}
	cancel()
	w.run(ctx, []source{watchContainer(t.Context(), &box{memory: []int64{5, 9}}), &stuck{}, watchProcesses(10, newMachine())}, 0, 100*time.Millisecond)
	u := w.Stop()
	assert.Equal(t, int64(157), u.PeakRSS)
	assert.Equal(t, int64(9), u.ContainerMemory)
	assert.Equal(t, []string{"the GPUs could not be read for 100ms: nothing is told"}, u.Notes)
}

func TestPause(t *testing.T) {
	for _, test := range []struct{ used, took, want time.Duration }{
		{0, 0, period},
		{time.Microsecond, time.Millisecond, period - time.Millisecond},
		{2 * time.Millisecond, 3 * time.Millisecond, gpuDuty*2*time.Millisecond - 3*time.Millisecond},
		{time.Microsecond, time.Second, 0}, // the driver slept
	} {
		got := pause(test.used, test.took)
		assert.Equal(t, test.want, got)
		assert.LessOrEqual(t, test.used, (got+test.took)/100, "no more than 1%% of a core")
	}
}

// A GPU whose calls are slow is looked at less often, which a note says.
func TestWatchGPUsSlow(t *testing.T) {
	w := watchGPUs(newGPUs(newCard(1)), nil, on(int64(0)), true)
	w.last, w.looks, w.cost = w.first.Add(time.Minute), 30, 30*20*time.Millisecond
	var u results.Usage
	w.fill(&u)
	assert.Contains(t, fmt.Sprint(u.Notes), "read 30 times in 1m0s, not every 100ms: a reading takes 20ms")
}

// box is a container that exists only in the test: each answer is the next of
// memory, and half a second of CPU time more.
type box struct {
	memory []int64
	asked  int
	err    error
}

func (b *box) Usage(context.Context) (int64, time.Duration, error) {
	if b.asked >= len(b.memory) {
		return 0, 0, b.err
	}
	b.asked++
	return b.memory[b.asked-1], time.Duration(b.asked) * 500 * time.Millisecond, nil
}
