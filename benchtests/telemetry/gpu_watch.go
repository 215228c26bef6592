package telemetry

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"

	"servebench/results"
)

// gpuDuty is how many times as long as a look at the GPUs took the next one is
// put off, in CPU time: that keeps looking under 1% of a core, whatever the
// driver's calls cost.
const gpuDuty = 110

var (
	// errUnseen and errNumbers say why the server's processes are not among those
	// that the driver tells.
	errUnseen  = errors.New("its processes cannot be seen here")
	errNumbers = errors.New("in a container processes have other numbers than the driver tells")
	// errCounter says why an energy counter's difference is none.
	errCounter = errors.New("the counter ran backwards: was the driver loaded anew?")
)

// gpuWatch is the source that a server's GPUs are.
type gpuWatch struct {
	gpus   *GPUs
	procs  *processes // whose GPU memory is the server's; nil: they cannot be seen here
	before *int64     // in use before the server was started
	apart  error      // why the server's processes cannot be told from others; nil: they can

	scalars   [scalars]meter
	server    meter
	throttled map[string]int // looks with each reason
	throttle  error
	began     []float64 // energy counters
	energy    error
	joules    float64 // by the counters
	watts     integral

	looks       int
	first, last time.Time
	cost        time.Duration // CPU time of all looks
	notes       notes
}

// meter takes a figure over all GPUs, a value a look. A figure that a GPU failed
// to give once is given up: a peak, mean or sum of the other looks or of the
// other GPUs would be of something else.
type meter struct {
	err       error
	sum, peak float64
	n         int
}

func (m *meter) add(v float64) {
	m.sum, m.peak, m.n = m.sum+v, max(m.peak, v), m.n+1
}

func (m *meter) ok() bool { return m.err == nil && m.n > 0 }

// mean returns nil where there is none.
func (m *meter) mean() *float64 {
	if !m.ok() {
		return nil
	}
	v := m.sum / float64(m.n)
	return &v
}

func (m *meter) bytes() *int64 {
	if !m.ok() {
		return nil
	}
	n := int64(m.peak)
	return &n
}

// integral adds up a power over time, by the trapezoidal rule.
type integral struct {
	joules  float64
	seconds float64
	last    float64
	at      time.Time
}

func (i *integral) add(at time.Time, watts float64) {
	if !i.at.IsZero() {
		dt := at.Sub(i.at).Seconds()
		i.joules += dt * (watts + i.last) / 2
		i.seconds += dt
	}
	i.at, i.last = at, watts
}

// watchGPUs reads the energy counters and takes the first look. host says that
// process numbers here are those that the driver tells.
func watchGPUs(g *GPUs, procs *processes, before *int64, host bool) *gpuWatch {
	w := &gpuWatch{gpus: g, procs: procs, before: before, throttled: make(map[string]int)}
	switch {
	case procs.pids() == nil:
		w.apart = errUnseen
	case !host:
		w.apart = errNumbers
	}
	w.began, w.energy = w.counters()
	w.look(time.Now())
	return w
}

// String implements source.
func (w *gpuWatch) String() string { return "the GPUs" }

// run implements source. The thread is its own, so that its CPU time is that of
// the looks.
func (w *gpuWatch) run(ctx context.Context) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	timer := time.NewTimer(period)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			w.look(time.Now())
			w.stop()
			return
		case <-timer.C:
			began, used := time.Now(), threadCPU()
			w.look(began)
			used = threadCPU() - used
			w.cost += used
			timer.Reset(pause(used, time.Since(began)))
		}
	}
}

// pause returns how long to wait after a look that took so much CPU time, and so
// long by the clock.
func pause(used, took time.Duration) time.Duration {
	return max(0, max(period, gpuDuty*used)-took)
}

// counters reads every GPU's energy counter.
func (w *gpuWatch) counters() ([]float64, error) {
	all := make([]float64, len(w.gpus.devices))
	for i := range w.gpus.devices {
		d := &w.gpus.devices[i]
		var err error
		if all[i], err = d.energy(); err != nil {
			return nil, fmt.Errorf("%s: %w", d.label, err)
		}
	}
	return all, nil
}

// look reads every figure that has not failed yet.
func (w *gpuWatch) look(now time.Time) {
	if w.looks == 0 {
		w.first = now
	}
	w.last = now
	w.looks++
	used, usedOK := 0.0, false
	for s := range scalars {
		if v, ok := w.scalar(s); ok {
			switch s {
			case deviceMemory:
				used, usedOK = v, true
			case power:
				w.watts.add(now, v)
			}
		}
	}
	w.lookServer(used, usedOK)
	w.lookThrottle()
}

// scalar reads one figure of every GPU: their sum for memory and power, their
// highest for temperature, else their mean.
func (w *gpuWatch) scalar(s scalar) (v float64, ok bool) {
	m := &w.scalars[s]
	if m.err != nil {
		return 0, false
	}
	for i := range w.gpus.devices {
		d := &w.gpus.devices[i]
		x, err := d.scalars[s]()
		if err != nil {
			m.err = fmt.Errorf("%s of %s: %w", s, d.label, err)
			w.notes.add("%v", m.err)
			return 0, false
		}
		switch s {
		case temperature:
			v = max(v, x)
		case deviceMemory, power:
			v += x
		default:
			v += x / float64(len(w.gpus.devices))
		}
	}
	m.add(v)
	return v, true
}

// lookServer reads the memory of the server's processes. Where they cannot be
// told apart it takes what the GPUs hold (used, where that could be had) beyond
// what they held before the server was started.
func (w *gpuWatch) lookServer(used float64, usedOK bool) {
	if w.server.err != nil {
		return
	}
	if w.apart == nil {
		sum, err := w.serverMemory()
		if err == nil {
			w.server.add(float64(sum))
			return
		}
		w.apart = err
		if w.server.n > 0 { // a peak of two kinds of figures is none
			w.server.err = err
			w.notes.add("GPU memory of the server alone is not known: %v", err)
			return
		}
	}
	switch {
	case w.before == nil:
		w.server.err = fmt.Errorf("%w, and what the GPUs held before it was started is not known", w.apart)
	case !usedOK:
		w.server.err = fmt.Errorf("%w, and that of the GPUs cannot be had", w.apart)
	default:
		w.server.add(max(0, used-float64(*w.before)))
		w.notes.add("GPU memory of the server is what the GPUs hold beyond what they held before it was started: %v", w.apart)
		return
	}
	w.notes.add("GPU memory of the server alone is not known: %v", w.server.err)
}

// serverMemory adds up the memory of the server's processes on all GPUs.
func (w *gpuWatch) serverMemory() (sum int64, err error) {
	pids := w.procs.pids()
	for i := range w.gpus.devices {
		d := &w.gpus.devices[i]
		procs, err := d.processes()
		if err != nil {
			return 0, fmt.Errorf("processes of %s: %w", d.label, err)
		}
		for _, p := range procs {
			if pids[p.pid] {
				sum += p.memory
			}
		}
	}
	return sum, nil
}

func (w *gpuWatch) lookThrottle() {
	if w.throttle != nil {
		return
	}
	now := make(map[string]bool)
	for i := range w.gpus.devices {
		d := &w.gpus.devices[i]
		reasons, err := d.throttle()
		if err != nil {
			w.throttle = err
			w.notes.add("what holds the clocks of %s down: %v", d.label, err)
			return
		}
		for _, r := range reasons {
			now[r] = true
		}
	}
	for r := range now {
		w.throttled[r]++
	}
}

// stop reads the energy counters again.
func (w *gpuWatch) stop() {
	if w.energy != nil {
		return
	}
	var ended []float64
	if ended, w.energy = w.counters(); w.energy != nil {
		return
	}
	for i := range ended {
		if ended[i] < w.began[i] {
			w.energy = fmt.Errorf("%s: %w", w.gpus.devices[i].label, errCounter)
			return
		}
		w.joules += ended[i] - w.began[i]
	}
}

// fill implements source.
func (w *gpuWatch) fill(u *results.Usage) {
	g := &results.GPUUsage{
		ServerMemory: w.server.bytes(),
		DeviceMemory: w.scalars[deviceMemory].bytes(),
		Utilization:  w.scalars[utilization].mean(),
		SMClock:      w.scalars[smClock].mean(),
		MemoryClock:  w.scalars[memoryClock].mean(),
		Looks:        w.looks,
	}
	if m := &w.scalars[temperature]; m.ok() {
		g.Temperature = &m.peak
	}
	if w.throttle == nil {
		text := w.reasons()
		g.Throttle = &text
	}
	w.fillEnergy(g)
	if span := w.last.Sub(w.first); span > 10*period && time.Duration(w.looks) < span/(2*period) {
		w.notes.add("the GPUs were read %d times in %v, not every %v: a reading takes %v of a core", w.looks, span.Round(time.Millisecond), period, (w.cost / time.Duration(w.looks)).Round(time.Microsecond))
	}
	u.GPU = g
	u.Notes = append(u.Notes, w.notes...)
}

// fillEnergy fills in power and energy: the counters' difference, else the
// integral of the power readings.
func (w *gpuWatch) fillEnergy(g *results.GPUUsage) {
	measured := w.scalars[power].ok() && w.watts.seconds > 0
	if measured {
		mean := w.watts.joules / w.watts.seconds
		g.Power = &mean
	}
	switch {
	case w.energy == nil:
		g.Energy = &w.joules
	case measured:
		g.Energy, g.Integrated = &w.watts.joules, true
		w.notes.add("energy is added up from power readings, its counter cannot be had: %v", w.energy)
	default:
		w.notes.add("energy: %v, and there are no power readings to add up", w.energy)
	}
}

// reasons lists what held clocks down, with the share of looks: "sw-power-cap:0.25".
func (w *gpuWatch) reasons() string {
	var parts []string
	for r, n := range w.throttled {
		parts = append(parts, fmt.Sprintf("%s:%.2f", r, float64(n)/float64(w.looks)))
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}
