package telemetry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"servebench/results"
)

// ErrNoGPU is returned, wrapped with what is missing, when this machine has no
// GPU that can be measured: no driver, no device.
var ErrNoGPU = errors.New("no GPU")

// ErrNoGPUSupport is returned when the program was built without what measures
// GPUs: the build tag gpu, cgo and Linux.
var ErrNoGPUSupport = errors.New("this program was built without GPU telemetry: build it on Linux with -tags gpu and CGO_ENABLED=1")

// AllGPUs selects every GPU that can be seen.
const AllGPUs = "all"

// GPUs are the GPUs that servers are given, open for reading. Its methods may
// be called from several goroutines.
type GPUs struct {
	about    results.GPUs
	devices  []gpu
	shutdown func() error
}

// A scalar is a figure that one call gives as a number.
type scalar int

// The scalars, in the order of their names.
const (
	deviceMemory scalar = iota // bytes in use
	utilization                // share of the last moments with a kernel running, 0 to 1
	smClock                    // Hz
	memoryClock                // Hz
	power                      // W
	temperature                // °C
	scalars                    // how many there are
)

func (s scalar) String() string {
	return [scalars]string{"memory", "utilisation", "SM clock", "memory clock", "power", "temperature"}[s]
}

// gpu reads one GPU, or one instance of a partitioned one. Every function
// fails where the figure cannot be had; none returns 0 for that.
type gpu struct {
	label     string // in notes
	scalars   [scalars]func() (float64, error)
	processes func() ([]gpuProcess, error) // with work on the GPU
	throttle  func() ([]string, error)     // what holds its clocks down now
	energy    func() (float64, error)      // J since the driver was loaded
}

// gpuProcess is a process with memory on a GPU.
type gpuProcess struct {
	pid    int   // as the machine numbers it, outside any container
	memory int64 // bytes
}

// OpenGPUs opens the GPUs that list selects: AllGPUs or "" for all, or, with
// commas, indices in the order of the PCI bus (0), instances of a partitioned
// GPU (0:1), or UUIDs or what they begin with (GPU-…, MIG-…). A partitioned
// GPU's index is all its instances. The error is ErrNoGPU or ErrNoGPUSupport,
// with what is missing, or says what is wrong with the list.
func OpenGPUs(list string) (*GPUs, error) { return openGPUs(list) }

// About describes the GPUs for a run's environment.
func (g *GPUs) About() *results.GPUs {
	about := g.about
	about.Devices, about.Notes = slices.Clone(about.Devices), slices.Clone(about.Notes)
	return &about
}

// MemoryUsed returns the bytes in use on all of the GPUs together.
func (g *GPUs) MemoryUsed() (int64, error) {
	var sum int64
	for i := range g.devices {
		n, err := g.devices[i].scalars[deviceMemory]()
		if err != nil {
			return 0, fmt.Errorf("memory of %s: %w", g.devices[i].label, err)
		}
		sum += int64(n)
	}
	return sum, nil
}

// Close lets go of the driver's library. No Watcher may be at work.
func (g *GPUs) Close() error { return g.shutdown() }

// GPUMemoryUsed returns the bytes in use on all GPUs of the machine; for some of
// them ask GPUs.MemoryUsed. ok is false, without an error, where there is no GPU
// or this program cannot measure one: then there is nothing to wait for.
func GPUMemoryUsed(ctx context.Context) (used int64, ok bool, err error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	g, err := OpenGPUs(AllGPUs)
	if errors.Is(err, ErrNoGPU) || errors.Is(err, ErrNoGPUSupport) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, err
	}
	used, err = g.MemoryUsed()
	return used, err == nil, errors.Join(err, g.Close())
}
