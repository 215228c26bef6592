//go:build cgo && linux && amd64

package cpu

/*
// -std=c11: without it gcc fuses a·b+c where it likes, and not everywhere alike.
// -g1: lines for perf, without the variables that take half of the compilation.
#cgo CFLAGS: -std=c11 -O2 -g1 -Wall -Wextra -Wno-unknown-pragmas
#cgo LDFLAGS: -lpthread
#cgo noescape cpu_begin
#cgo nocallback cpu_begin
#cgo noescape cpu_pack
#cgo nocallback cpu_pack
#cgo noescape cpu_widen
#cgo nocallback cpu_widen
#include "cpu.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/klauspost/cpuid/v2"
	"golang.org/x/sys/unix"

	"servebench/kernels"
)

// maxThreads is more than any machine has; it keeps a typo from eating the memory.
const maxThreads = 4096

// set is an instruction set: the name that Options takes, the one people read,
// what the CPU must have for it.
type set struct {
	id          C.int
	name, label string
	features    []cpuid.FeatureID
}

var (
	avx2 = []cpuid.FeatureID{cpuid.AVX2, cpuid.FMA3, cpuid.F16C}
	wide = append([]cpuid.FeatureID{cpuid.AVX512F, cpuid.AVX512BW, cpuid.AVX512VL, cpuid.AVX512DQ}, avx2...)
	sets = []set{ // best first
		{C.CPU_AVX512BF16, "avx512bf16", "AVX-512 BF16", append([]cpuid.FeatureID{cpuid.AVX512BF16}, wide...)},
		{C.CPU_AVX512, "avx512", "AVX-512", wide},
		{C.CPU_AVX2, "avx2", "AVX2", avx2},
	}
)

// ISAs lists the instruction sets that this CPU and build can run, best first.
func ISAs() []string {
	var names []string
	for _, s := range sets {
		if cpuid.CPU.Supports(s.features...) {
			names = append(names, s.name)
		}
	}
	return names
}

// pick returns the named instruction set, or the best one.
func pick(name string) (set, error) {
	have := ISAs()
	if len(have) == 0 {
		return set{}, fmt.Errorf("%w: the CPU lacks AVX2, FMA or F16C", ErrUnavailable)
	}
	if name == "" {
		name = have[0]
	}
	for _, s := range sets {
		if s.name == name && cpuid.CPU.Supports(s.features...) {
			return s, nil
		}
	}
	return set{}, fmt.Errorf("cpu: no instruction set %q; this CPU has %q", name, have)
}

// cores lists the cores that the process may run on.
func cores() []C.int32_t {
	var mask unix.CPUSet
	if unix.SchedGetaffinity(0, &mask) != nil {
		return nil
	}
	var list []C.int32_t
	for i := range len(mask) * 64 {
		if mask.IsSet(i) {
			list = append(list, C.int32_t(i))
		}
	}
	return list
}

// New opens a device. It returns ErrUnavailable where the kernels cannot run,
// another error on options that make no sense.
func New(o Options) (kernels.Device, error) {
	if o.DType != kernels.F32 && o.DType != kernels.BF16 {
		return nil, fmt.Errorf("cpu: a device is float32 or bfloat16, not %v", o.DType)
	}
	s, err := pick(o.ISA)
	if err != nil {
		return nil, err
	}
	allowed := cores()
	threads := o.Threads
	if threads == 0 {
		// GOMAXPROCS knows of a container's CPU quota, the affinity mask does not.
		threads = max(1, min(len(allowed), runtime.GOMAXPROCS(0)))
	}
	if threads < 1 || threads > maxThreads {
		return nil, fmt.Errorf("cpu: %d threads; 0 takes all cores, at most %d are possible", o.Threads, maxThreads)
	}
	// Workers are bound to cores only when they are to have all of them: with
	// fewer, the system knows better which ones are free.
	var bind *C.int32_t
	if threads == len(allowed) && !o.Unbound {
		bind = unsafe.SliceData(allowed)
	}
	c := C.cpu_open(s.id, C.int(o.DType), C.int(threads), bind)
	if c == nil {
		return nil, fmt.Errorf("cpu: cannot start %d threads", threads)
	}
	d := &device{c: c, dtype: o.DType, threads: threads, name: fmt.Sprintf("cpu (%s, %d threads)", s.label, threads)}
	if threads == 1 {
		d.name = fmt.Sprintf("cpu (%s, 1 thread)", s.label)
	}
	return d, nil
}

type device struct {
	c       *C.cpu_device // nil once closed
	dtype   kernels.DType
	threads int
	name    string
	step    *kernels.Step // nil outside of a step
	kv      *kv           // the cache that step has been checked against
	err     error         // the step's first
}

// weight is a matrix in panels, or a row-major float32 table, in C memory.
type weight struct {
	dev *device
	c   *C.cpu_weight // apart, as C may not be shown memory with Go pointers
}

func (w *weight) Dims() (n, k int) { return int(w.c.n), int(w.c.k) }

// buffer is row-major float32 in C memory.
type buffer struct {
	dev        *device
	data       *C.float
	rows, cols int
}

func (b *buffer) Dims() (rows, cols int) { return b.rows, b.cols }

// kv is a cache in C memory; attention.h has its layout.
type kv struct {
	dev   *device
	shape kernels.KVShape
	c     *C.cpu_kv
}

func (c *kv) Shape() kernels.KVShape { return c.shape }

var (
	errClosed = errors.New("cpu: the device is closed")
	errInStep = errors.New("cpu: End the step first")
	errMemory = errors.New("cpu: out of memory")
)

func (d *device) Name() string         { return d.name }
func (d *device) DType() kernels.DType { return d.dtype }

// populated is alloc of memory that is there at once. A page that a step is the
// first to write to costs it ten times what clearing it takes where the system
// runs on a hypervisor, which has to find memory too; and what the system cannot
// give is known before anybody waits for an answer.
func (d *device) populated(bytes C.size_t, what string) (unsafe.Pointer, error) {
	p, err := d.alloc(bytes, what)
	if err == nil && C.cpu_populate(d.c, p, bytes) == 0 {
		return nil, fmt.Errorf("%w: %s takes %d bytes", errMemory, what, bytes)
	}
	return p, err
}

// alloc returns zeroed C memory that lives until Close.
func (d *device) alloc(bytes C.size_t, what string) (unsafe.Pointer, error) {
	p := C.cpu_alloc(d.c, bytes)
	if p == nil {
		return nil, fmt.Errorf("%w: %s takes %d bytes", errMemory, what, bytes)
	}
	return p, nil
}

func (d *device) Load(l kernels.Layout, parts ...kernels.Tensor) (kernels.Weight, error) {
	if d.c == nil {
		return nil, errClosed
	}
	n, k, err := kernels.StackDims(l, parts)
	if err != nil {
		return nil, err
	}
	w := &weight{dev: d, c: &C.cpu_weight{n: C.int32_t(n), k: C.int32_t(k)}}
	bytes := C.size_t(n) * C.size_t(k) * 4
	if l != kernels.Float {
		w.c.packed = 1
		bytes = C.cpu_pack_bytes(d.c, w.c.n, w.c.k)
	}
	if w.c.data, err = d.alloc(bytes, parts[0].Name); err != nil {
		return nil, err
	}
	done := 0 // elements of a Float, rows of a matrix
	for _, t := range parts {
		src, dtype := unsafe.Pointer(unsafe.SliceData(t.Data)), C.int(t.DType)
		elems := len(t.Data) / t.DType.Size()
		if l == kernels.Float {
			to := (*C.float)(unsafe.Add(w.c.data, 4*done))
			C.cpu_widen(d.c, to, src, dtype, C.size_t(elems))
			done += elems
			continue
		}
		transposed := C.int(0)
		if l == kernels.MatrixT {
			transposed = 1
		}
		C.cpu_pack(d.c, w.c, src, dtype, transposed, C.int32_t(done), C.int32_t(elems/k))
		done += elems / k
	}
	return w, nil
}

func (d *device) NewBuffer(rows, cols int) (kernels.Buffer, error) {
	if d.c == nil {
		return nil, errClosed
	}
	if err := kernels.CheckBuffer(rows, cols); err != nil {
		return nil, err
	}
	p, err := d.populated(C.size_t(rows)*C.size_t(cols)*4, fmt.Sprintf("a buffer [%d, %d]", rows, cols))
	if err != nil {
		return nil, err
	}
	return &buffer{d, (*C.float)(p), rows, cols}, nil
}

func (d *device) NewKV(sh kernels.KVShape) (kernels.KV, error) {
	if d.c == nil {
		return nil, errClosed
	}
	if err := sh.Check(); err != nil {
		return nil, err
	}
	c := &kv{dev: d, shape: sh, c: &C.cpu_kv{
		layers: C.int32_t(sh.Layers), blocks: C.int32_t(sh.Blocks), block_size: C.int32_t(sh.BlockSize),
		kv_heads: C.int32_t(sh.KVHeads), head_dim: C.int32_t(sh.HeadDim),
	}}
	var err error
	c.c.data, err = d.populated(C.cpu_kv_bytes(d.c, c.c), fmt.Sprintf("a KV cache %+v", sh))
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (d *device) Begin(s *kernels.Step) error {
	if d.c == nil {
		return errClosed
	}
	if d.step != nil {
		return errInStep
	}
	if err := s.Check(); err != nil {
		return err
	}
	sizes := C.cpu_step{tokens_n: C.int32_t(len(s.Tokens)), seqs: C.int32_t(len(s.Lens)),
		max_blocks: C.int32_t(s.MaxBlocks), out_n: C.int32_t(len(s.Out))}
	if C.cpu_begin(d.c, &sizes, ints(s.Tokens), ints(s.Positions), ints(s.Slots), ints(s.Starts),
		ints(s.Lens), ints(s.Blocks), ints(s.Out)) == 0 {
		return fmt.Errorf("%w for a step of %d tokens", errMemory, len(s.Tokens))
	}
	d.step, d.kv, d.err = s, nil, nil
	return nil
}

func ints(s []int32) *C.int32_t { return (*C.int32_t)(unsafe.SliceData(s)) }

func (d *device) End() error {
	if d.step == nil {
		return errors.New("cpu: End without Begin")
	}
	d.step = nil
	return d.err
}

func (d *device) Read(b kernels.Buffer, n int) ([]float32, error) {
	switch {
	case d.c == nil:
		return nil, errClosed
	case d.step != nil:
		return nil, errInStep
	}
	from := d.buffer("Read", b)
	if all := from.rows * from.cols; n > all {
		return nil, fmt.Errorf("cpu: Read of %d elements from a buffer of %d", n, all)
	}
	return unsafe.Slice((*float32)(from.data), n), nil
}

func (d *device) Close() error {
	if d.c != nil {
		C.cpu_close(d.c)
	}
	d.c, d.step = nil, nil
	return nil
}
