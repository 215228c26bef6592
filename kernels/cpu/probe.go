//go:build cgo && linux && amd64

package cpu

/*
#cgo noescape cpu_limit
#cgo nocallback cpu_limit
#include "cpu.h"
*/
import "C"

import (
	"time"
	"unsafe"

	"github.com/klauspost/cpuid/v2"

	"servebench/kernels"
)

// Probe measures what the machine does at most, with the threads that a device
// has: what the share of a limit is a share of. One goroutine uses it at a time.
type Probe struct {
	d     *device
	data  unsafe.Pointer
	bytes int
	dots  bool
}

const (
	// Tasks are so short (100 µs and 10) that a thread that another program
	// holds up leaves its share to the others.
	readTask     = 2 << 20 // bytes
	computeTasks = 256     // a thread

	// A cache, even one shared with other machines' cores, must not hold it.
	probeBytes  = 256 << 20
	probeCaches = 4
)

// NewProbe starts threads (0: all cores that the process may run on) and fills
// the memory to be read: 256 MiB, or four times the last cache's size where that
// is more, in huge pages where the system has them unless small is set. It
// returns ErrUnavailable where the kernels cannot run.
func NewProbe(threads int, small bool) (*Probe, error) {
	dev, err := New(Options{DType: kernels.F32, Threads: threads})
	if err != nil {
		return nil, err
	}
	p := &Probe{d: dev.(*device), bytes: max(probeBytes, probeCaches*cpuid.CPU.Cache.L3)}
	p.dots = ISAs()[0] == "avx512bf16"
	if p.data, err = p.d.alloc(C.size_t(p.bytes), "the memory to be read"); err != nil {
		_ = p.Close()
		return nil, err
	}
	if small {
		C.cpu_small_pages(p.data, C.size_t(p.bytes))
	}
	// Untouched pages would all be one page of zeros.
	words := unsafe.Slice((*uint64)(p.data), p.bytes/8)
	for i := range words {
		words[i] = uint64(i)
	}
	return p, nil
}

// Threads is how many threads are measured together.
func (p *Probe) Threads() int { return p.d.threads }

// Read reads the memory once, as MatMul reads a matrix, and returns bytes a second.
func (p *Probe) Read() float64 { return p.measure(C.CPU_LIMIT_READ, p.bytes/readTask) }

// FMA returns the float32 operations a second of fused multiply-adds, two each,
// in the CPU's widest registers; it takes some milliseconds.
func (p *Probe) FMA() float64 { return p.measure(C.CPU_LIMIT_FMA, computeTasks*p.d.threads) }

// Dot is FMA for bfloat16 dot products, four operations a lane; 0 where the CPU
// has none.
func (p *Probe) Dot() float64 {
	if !p.dots {
		return 0
	}
	return p.measure(C.CPU_LIMIT_DOT, computeTasks*p.d.threads)
}

func (p *Probe) measure(what C.int, tasks int) float64 {
	start := time.Now()
	done := C.cpu_limit(p.d.c, what, p.data, C.size_t(p.bytes), C.int(tasks))
	return float64(done) / time.Since(start).Seconds()
}

// Close frees the memory and ends the threads.
func (p *Probe) Close() error { return p.d.Close() }
