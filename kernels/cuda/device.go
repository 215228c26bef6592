package cuda

import (
	"errors"
	"fmt"
	"math"
	"runtime"
	"unsafe"

	"servebench/kernels"
)

// Device is one GPU. It is a kernels.Device, a kernels.Drawer and a kernels.Grapher.
type Device struct {
	caller
	ctx     uintptr // sbc_context; 0 once closed
	options Options
	name    string
	lost    error // ErrLost, once it was returned: nothing is asked of the context any more
	loading bool  // weights may be on their way

	step *kernels.Step // nil outside of a step
	kv   *kv           // the cache that step has been checked against
	err  error         // the step's first
	drew bool          // Draw was called in the step
	last drawing       // of the step, or, outside of one, of the one before

	recording *graph   // of the Capture that runs
	graphs    []*graph // by rows, ascending

	queue   []drawn   // steps submitted whose ids were not asked for, oldest first
	spare   [][]int32 // for the ids of more
	current []int32   // what Drawn returned last

	in  arguments
	out results
}

// drawing is what a step drew: of how many rows, among how many ids.
type drawing struct{ rows, vocab int }

// arguments are what calls point to: on the heap with the Device, so that it does
// not move, and kept, so that a call allocates nothing.
type arguments struct {
	step              cStep
	weight, positions cWeight
	kv                cKV
	attn              cAttn
	norm              cNorm
	draws             []cDraw // [MaxSeqs]
	source            *byte   // sbc_load's
	ids               []int32 // sbc_drawn's
}

// results are what calls write.
type results struct {
	about   cDevice
	ctx     uintptr
	data    uint64
	host    *float32 // page-locked, the library's
	graph   int32
	number  float64
	options cOptions
}

// weight is a matrix in rows padded to 16 elements, or a dense float32 table, in
// the GPU's memory.
type weight struct {
	dev *Device
	c   cWeight
}

func (w *weight) Dims() (n, k int) { return int(w.c.n), int(w.c.k) }
func (w *weight) table() bool      { return w.c.ld == 0 }

// buffer is dense row-major float32 in the GPU's memory.
type buffer struct {
	dev        *Device
	data       uint64
	rows, cols int
}

func (b *buffer) Dims() (rows, cols int) { return b.rows, b.cols }

// kv is a cache in the GPU's memory; kernels.h has its layout.
type kv struct {
	dev   *Device
	shape kernels.KVShape
	c     cKV
}

func (c *kv) Shape() kernels.KVShape { return c.shape }

var (
	errClosed    = errors.New("cuda: the device is closed")
	errInStep    = errors.New("cuda: End or Submit the step first")
	errRecording = errors.New("cuda: not while a step is captured")
)

// New opens a GPU. It returns ErrUnavailable, ErrLibrary, ErrDriver, ErrNoDevice,
// ErrArchitecture or ErrMemory, or another error on options that make no sense.
func New(o Options) (*Device, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	lib, err := openLibrary(o.Library)
	if err != nil {
		return nil, err
	}
	d := &Device{caller: caller{lib: lib}, options: o}
	d.in.draws, d.in.ids = make([]cDraw, o.MaxSeqs), make([]int32, o.MaxSeqs)
	d.out.options = cOptions{device: int32(o.Device), dtype: int32(o.DType), maxTokens: int32(o.MaxTokens),
		maxSeqs: int32(o.MaxSeqs), maxBlocks: int32(o.MaxBlocks)}
	// The library tells this thread what was wrong.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if s := status(d.call(fnOpen, address(&d.out.options), address(&d.out.ctx))); s != statusOK {
		return nil, s.err(fmt.Sprintf("opening GPU %d", o.Device), goString(d.call(fnMessage, 0)))
	}
	d.ctx = d.out.ctx
	about, err := d.About()
	if err != nil {
		return nil, errors.Join(err, d.Close())
	}
	d.name = fmt.Sprintf("cuda:%d (%v)", o.Device, about)
	return d, nil
}

// Name describes the GPU, as "cuda:0 (NVIDIA H100 80GB HBM3, sm_90, 132 multiprocessors)".
func (d *Device) Name() string { return d.name }

// DType is what matrices and caches are kept in.
func (d *Device) DType() kernels.DType { return d.options.DType }

// do calls a function of the context and makes an error of its status.
func (d *Device) do(doing string, f function, args ...uintptr) error {
	if d.lost != nil {
		return d.lost
	}
	s := status(d.call(f, args...))
	if s == statusOK {
		return nil
	}
	err := s.err(doing, goString(d.call(fnMessage, d.ctx)))
	if s == statusLost {
		d.lost = err
	}
	return err
}

// ready reports why the context cannot be used now.
func (d *Device) ready() error {
	if d.ctx == 0 {
		return errClosed
	}
	return d.lost
}

// idle is ready outside of a step.
func (d *Device) idle() error {
	if err := d.ready(); err != nil || d.step == nil {
		return err
	}
	return errInStep
}

// alloc returns zeroed memory that lives until Close.
func (d *Device) alloc(bytes uint64, what string) (uint64, error) {
	if d.recording != nil {
		return 0, errRecording
	}
	err := d.do("allocating", fnAlloc, d.ctx, uintptr(bytes), address(&d.out.data))
	if errors.Is(err, ErrMemory) {
		free := ""
		if a, e := d.About(); e == nil {
			free = fmt.Sprintf(", %d bytes of %d are free", a.Free, a.Memory)
		}
		return 0, fmt.Errorf("%s takes %d bytes%s: %w", what, bytes, free, err)
	}
	if err != nil {
		return 0, fmt.Errorf("%s: %w", what, err)
	}
	return d.out.data, nil
}

// Load puts a weight on the GPU. The copy may still be on its way when it returns;
// what goes wrong with it is told by what waits next.
func (d *Device) Load(l kernels.Layout, parts ...kernels.Tensor) (kernels.Weight, error) {
	if err := d.ready(); err != nil {
		return nil, err
	}
	n, k, err := kernels.StackDims(l, parts)
	if err != nil {
		return nil, err
	}
	w := &weight{dev: d, c: cWeight{n: int32(n), k: int32(k)}}
	if l != kernels.Float {
		ld := roundUp(k, matrixAlign)
		if ld > math.MaxInt32 {
			return nil, fmt.Errorf("%w: %s has rows of %d elements, more than fit a GPU's matrix", kernels.ErrTensor, parts[0].Name, k)
		}
		w.c.ld = int32(ld)
	}
	bytes := uint64(d.call(fnWeightBytes, uintptr(d.options.DType), uintptr(n), uintptr(k), flag(w.table())))
	if bytes == 0 {
		return nil, fmt.Errorf("%w: %s is [%d, %d], more than fits a GPU's weight", kernels.ErrTensor, parts[0].Name, n, k)
	}
	if w.c.data, err = d.alloc(bytes, parts[0].Name); err != nil {
		return nil, err
	}
	d.loading = true
	if err := d.copyParts(w, l, parts); err != nil {
		_ = d.do("giving back memory", fnFree, d.ctx, uintptr(w.c.data)) // Close does it where this cannot
		return nil, err
	}
	return w, nil
}

// copyParts fills a weight.
func (d *Device) copyParts(w *weight, l kernels.Layout, parts []kernels.Tensor) error {
	d.in.weight = w.c
	row := int(w.c.k) // elements of a row of what is copied
	if l == kernels.Float && len(parts[0].Shape) == 1 {
		// Joined vectors: a column, to which each part adds elements.
		d.in.weight.n, d.in.weight.k, row = w.c.k, 1, 1
	}
	done := 0
	for _, t := range parts {
		rows := len(t.Data) / t.DType.Size() / row
		d.in.source = unsafe.SliceData(t.Data)
		err := d.do("loading "+t.Name, fnLoad, d.ctx, address(&d.in.weight), address(d.in.source), uintptr(t.DType),
			flag(l == kernels.MatrixT), uintptr(done), uintptr(rows))
		d.in.source = nil
		if err != nil {
			return err
		}
		done += rows
	}
	return nil
}

// settle waits for weights that are on their way, and gives back what their
// copying took.
func (d *Device) settle() error {
	if !d.loading {
		return nil
	}
	d.loading = false
	return d.do("loading weights", fnLoadDone, d.ctx)
}

// NewBuffer allocates rows×cols float32, zeroed.
func (d *Device) NewBuffer(rows, cols int) (kernels.Buffer, error) {
	if err := d.ready(); err != nil {
		return nil, err
	}
	if err := kernels.CheckBuffer(rows, cols); err != nil {
		return nil, err
	}
	if err := d.settle(); err != nil {
		return nil, err
	}
	data, err := d.alloc(4*uint64(rows)*uint64(cols), fmt.Sprintf("a buffer [%d, %d]", rows, cols))
	if err != nil {
		return nil, err
	}
	return &buffer{d, data, rows, cols}, nil
}

// NewKV allocates a cache.
func (d *Device) NewKV(sh kernels.KVShape) (kernels.KV, error) {
	if err := d.ready(); err != nil {
		return nil, err
	}
	if err := sh.Check(); err != nil {
		return nil, err
	}
	if err := d.settle(); err != nil {
		return nil, err
	}
	c := &kv{dev: d, shape: sh, c: cKV{layers: int32(sh.Layers), blocks: int32(sh.Blocks), blockSize: int32(sh.BlockSize),
		kvHeads: int32(sh.KVHeads), headDim: int32(sh.HeadDim)}}
	d.in.kv = c.c
	bytes := uint64(d.call(fnKVBytes, uintptr(d.options.DType), address(&d.in.kv)))
	if bytes == 0 {
		return nil, fmt.Errorf("cuda: a KV cache of %+v is more than a GPU's memory can be", sh)
	}
	var err error
	if c.c.data, err = d.alloc(bytes, fmt.Sprintf("a KV cache %+v", sh)); err != nil {
		return nil, err
	}
	return c, nil
}

// Close frees everything that the device made, and its context. What it returns
// is what went wrong with that; the device is closed all the same.
func (d *Device) Close() error {
	if d.ctx == 0 {
		return nil
	}
	// The library tells this thread what was wrong.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	s := status(d.call(fnClose, d.ctx))
	d.ctx, d.step, d.recording = 0, nil, nil
	if s != statusOK && d.lost == nil { // of a context that was lost no more is expected
		return s.err("closing", goString(d.call(fnMessage, 0)))
	}
	return nil
}

// matrixAlign is what a matrix' rows are padded to, in elements (kernels.h).
const matrixAlign = 16

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

func flag(b bool) uintptr {
	if b {
		return 1
	}
	return 0
}
