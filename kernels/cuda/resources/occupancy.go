package resources

import "fmt"

// Limits are what a multiprocessor of a compute capability has.
type Limits struct {
	Warps     int // resident at a time
	Blocks    int // resident at a time
	Registers int // of 32 bits
	Shared    int // bytes of shared memory for all blocks
	Block     int // bytes of shared memory that one block can ask for
}

// limits are those of the CUDA C++ Programming Guide, "Technical Specifications
// per Compute Capability".
var limits = map[string]Limits{
	"sm_80": {Warps: 64, Blocks: 32, Registers: 64 << 10, Shared: 164 << 10, Block: 163 << 10},
	"sm_86": {Warps: 48, Blocks: 16, Registers: 64 << 10, Shared: 100 << 10, Block: 99 << 10},
	"sm_89": {Warps: 48, Blocks: 24, Registers: 64 << 10, Shared: 100 << 10, Block: 99 << 10},
	"sm_90": {Warps: 64, Blocks: 32, Registers: 64 << 10, Shared: 228 << 10, Block: 227 << 10},
}

// How a multiprocessor of these capabilities hands out what it has (CUDA's
// cuda_occupancy.h): registers to warps, in units, from one of its four partitions;
// shared memory to blocks, in units, with some more for the system.
const (
	warpThreads    = 32
	partitions     = 4
	registerUnit   = 256
	sharedUnit     = 128
	sharedReserved = 1 << 10
)

// Occupancy returns how many blocks of a kernel can be resident on one
// multiprocessor, and the share of its warps that they are. Threads are those of a
// block, registers those of a thread, shared all bytes of a block, static and
// dynamic. A block that does not fit at all gives 0; an unknown architecture is an
// error.
func Occupancy(arch string, threads, registers, shared int) (blocks int, share float64, err error) {
	l, ok := limits[arch]
	if !ok {
		return 0, 0, fmt.Errorf("the limits of %s are not known: add them to occupancy.go", arch)
	}
	if threads < 1 || threads > 1024 || registers < 0 || shared < 0 {
		return 0, 0, fmt.Errorf("a block of %d threads, %d registers a thread and %d bytes of shared memory: no such block", threads, registers, shared)
	}
	warps := roundUp(threads, warpThreads) / warpThreads
	blocks = min(l.Blocks, l.Warps/warps)
	if registers > 0 {
		perWarp := roundUp(registers*warpThreads, registerUnit)
		// Every partition takes as many of a block's warps as any other, or one more.
		if perWarp*roundUp(warps, partitions) > l.Registers {
			return 0, 0, nil
		}
		blocks = min(blocks, l.Registers/partitions/perWarp*partitions/warps)
	}
	if shared > l.Block {
		return 0, 0, nil
	}
	blocks = min(blocks, l.Shared/roundUp(shared+sharedReserved, sharedUnit))
	return blocks, float64(blocks*warps) / float64(l.Warps), nil
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }
