package cuda

import (
	"fmt"
	"runtime"
	"sync"
)

// About describes a GPU.
type About struct {
	Name           string
	BusID          string  // PCI, as nvidia-smi has it
	Major, Minor   int     // compute capability
	SMs            int     // multiprocessors
	Driver         int     // the newest CUDA that the driver knows, 1000·major + 10·minor
	Runtime        int     // the CUDA that the library was built with
	SharedPerBlock int     // bytes of shared memory that a block can ask for
	L2             int     // bytes
	Memory, Free   int64   // bytes in all, and that nobody has; Devices does not tell Free
	PeakRead       float64 // bytes/s by the memory's clock and width; 0: unknown
	Simulated      bool
}

// String is a line for people.
func (a About) String() string {
	s := fmt.Sprintf("%s, sm_%d%d, %d multiprocessors", a.Name, a.Major, a.Minor, a.SMs)
	if a.Simulated {
		s += ", simulated"
	}
	return s
}

func (c *cDevice) about() About {
	return About{Name: text(c.name[:]), BusID: text(c.busID[:]), Major: int(c.major), Minor: int(c.minor), SMs: int(c.sms),
		Driver: int(c.driver), Runtime: int(c.runtime), SharedPerBlock: int(c.sharedPerBlock), L2: int(c.l2Bytes),
		Memory: int64(c.memory), Free: int64(c.freeNow), PeakRead: c.peakRead, Simulated: c.simulated != 0}
}

// lister is what Devices calls with: it stays where it is, and one at a time uses it.
var lister struct {
	sync.Mutex
	caller
	found [64]cDevice
	count int32
}

// Devices lists the GPUs, up to 64, that a library, found as by New, can see. It
// returns ErrUnavailable, ErrLibrary, ErrDriver, or nothing where there is none.
func Devices(path string) ([]About, error) {
	lib, err := openLibrary(path)
	if err != nil {
		return nil, err
	}
	l := &lister
	l.Lock()
	defer l.Unlock()
	// The library tells this thread what was wrong.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l.lib, l.count = lib, 0
	s := status(l.call(fnDevices, address(&l.found[0]), uintptr(len(l.found)), address(&l.count)))
	switch {
	case s == statusNoDevice:
		return nil, nil
	case s != statusOK:
		return nil, s.err("listing GPUs", goString(l.call(fnMessage, 0)))
	}
	var all []About
	for i := range min(int(l.count), len(l.found)) {
		all = append(all, l.found[i].about())
	}
	return all, nil
}

// About describes the device's GPU, with the memory that is free now.
func (d *Device) About() (About, error) {
	if err := d.ready(); err != nil {
		return About{}, err
	}
	if err := d.do("asking about the GPU", fnAbout, d.ctx, address(&d.out.about)); err != nil {
		return About{}, err
	}
	return d.out.about.about(), nil
}

// Limit is something that a GPU does at most.
type Limit int

// What Limit measures.
const (
	LimitRead Limit = iota // bytes/s of reading memory
	LimitFMA               // FLOP/s of float32 multiply-adds
	LimitDot               // FLOP/s of dense products in the device's dtype, on tensor cores where it has them
)

// Limit measures what the GPU does at most, by kernels of the library's own; it
// takes some milliseconds. Only outside a step.
func (d *Device) Limit(l Limit) (float64, error) {
	if err := d.idle(); err != nil {
		return 0, err
	}
	if err := d.do("measuring the GPU", fnLimit, d.ctx, uintptr(l), address(&d.out.number)); err != nil {
		return 0, err
	}
	return d.out.number, nil
}

// Time returns the seconds that the GPU takes for what run queues, in or outside a
// step. It waits.
func (d *Device) Time(run func()) (float64, error) {
	if err := d.ready(); err != nil {
		return 0, err
	}
	if err := d.do("timing", fnTime, d.ctx, 1, address(&d.out.number)); err != nil {
		return 0, err
	}
	run()
	if err := d.do("timing", fnTime, d.ctx, 0, address(&d.out.number)); err != nil {
		return 0, err
	}
	return d.out.number, nil
}
