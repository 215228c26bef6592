package cuda

import "unsafe"

// abiVersion is SBC_VERSION of kernels.h.
const abiVersion = 1

// function is one of the library's; its name is in functionNames.
type function int

const (
	fnVersion function = iota
	fnMessage
	fnDevices
	fnOpen
	fnClose
	fnAbout
	fnAlloc
	fnFree
	fnWeightBytes
	fnLoad
	fnLoadDone
	fnKVBytes
	fnBegin
	fnWait
	fnRead
	fnEmbed
	fnNorm
	fnMatMul
	fnStoreKV
	fnAttention
	fnActivate
	fnAdd
	fnGather
	fnDrawTokens
	fnDrawn
	fnGraphBegin
	fnGraphEnd
	fnGraphRun
	fnLimit
	fnTime
	functionCount
)

var functionNames = [functionCount]string{
	"sbc_version", "sbc_message", "sbc_devices", "sbc_open", "sbc_close", "sbc_about", "sbc_alloc", "sbc_free",
	"sbc_weight_bytes", "sbc_load", "sbc_load_done", "sbc_kv_bytes", "sbc_begin", "sbc_wait", "sbc_read",
	"sbc_embed", "sbc_norm", "sbc_matmul", "sbc_store_kv", "sbc_attention", "sbc_activate", "sbc_add", "sbc_gather",
	"sbc_draw_tokens", "sbc_drawn", "sbc_graph_begin", "sbc_graph_end", "sbc_graph_run", "sbc_limit", "sbc_time",
}

// The structs of kernels.h. Their fields are in its order; none has padding.

type cDevice struct {
	name            [128]byte
	busID           [32]byte
	major, minor    int32
	sms             int32
	driver, runtime int32
	sharedPerBlock  int32
	l2Bytes         int32
	simulated       int32
	memory, freeNow uint64
	peakRead        float64
}

type cOptions struct {
	device, dtype, maxTokens, maxSeqs, maxBlocks, _ int32
}

type cWeight struct {
	data  uint64
	n, k  int32
	ld, _ int32
}

type cKV struct {
	data                                           uint64
	layers, blocks, blockSize, kvHeads, headDim, _ int32
}

type cStep struct {
	tokensN, seqs, maxBlocks, outN, window, _                 int32
	tokens, from, positions, slots, starts, lens, blocks, out *int32
}

type cAttn struct {
	heads, kvHeads, headDim, window int32
	scale                           float32
	_                               int32
}

type cNorm struct {
	out, x, delta, weight, bias uint64
	eps                         float32
	mean, rows, width           int32
}

type cDraw struct {
	temperature, topP, minP float64
	seed, index             uint64
	topK, _                 int32
}

// text is a C string in an array.
func text(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// longest is more than the library has to say at a time.
const longest = 4096

// goString copies a C string.
func goString(p uintptr) string {
	if p == 0 {
		return ""
	}
	at := *(*unsafe.Pointer)(unsafe.Pointer(&p)) // C's memory, which the collector does not know
	n := 0
	for n < longest && *(*byte)(unsafe.Add(at, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(at), n))
}

// address is where p points, for the library. What it points to must be reachable
// from a Device, and so on the heap, which does not move, until the call returns.
func address[T any](p *T) uintptr { return uintptr(unsafe.Pointer(p)) }
