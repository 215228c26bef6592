package main

import (
	"math"
	"os"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/mem"
)

// kvShare is the part of the free memory that the KV cache takes at most when
// nothing else is asked for: one half is left to the weights, and of the rest a
// half to everything else on the machine.
const kvShare = 4

// freeMemory returns the bytes that this process may still take: what the
// system has available, or what its control group leaves, if that is less.
func freeMemory() (int64, error) {
	v, err := mem.VirtualMemory()
	if err != nil {
		return 0, err
	}
	free := int64(v.Available)
	if limit, used, ok := cgroupMemory("/sys/fs/cgroup"); ok {
		free = min(free, max(limit-used, 0))
	}
	return free, nil
}

// cgroupMemory reads a version 2 control group's limit and use; ok is false
// where there is none.
func cgroupMemory(dir string) (limit, used int64, ok bool) {
	read := func(name string) (int64, bool) {
		b, err := os.ReadFile(dir + "/" + name)
		if err != nil {
			return 0, false
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
		return n, err == nil // the limit is the word max where there is none
	}
	limit, okLimit := read("memory.max")
	used, okUsed := read("memory.current")
	return limit, used, okLimit && okUsed
}

// unitTokens is what the C kernels round a block's tokens up to: a block takes
// the memory of whole units (kernels/cpu/attention.h).
const unitTokens = 16

// blockBytes returns the bytes of a KV block of so many tokens, when a token
// takes tokenBytes.
func blockBytes(blockSize, tokenBytes int) int64 {
	units := (blockSize + unitTokens - 1) / unitTokens
	return int64(units) * unitTokens * int64(tokenBytes)
}

// kvBlocks returns how many blocks of o.blockSize tokens the KV cache gets, when
// a token takes tokenBytes and a sequence has at most context tokens: those
// that --kv-cache-memory-bytes asks for, else enough for every sequence of a
// step to fill its context, but no more than the free memory's kvShare.
// One sequence has to fit.
func kvBlocks(o *options, context, tokenBytes int, free int64) (int, error) {
	block := blockBytes(o.blockSize, tokenBytes)
	perSeq := int64((context + o.blockSize - 1) / o.blockSize)
	most := int64(math.MaxInt32 / o.blockSize) // a cache slot is 32 bits
	blocks := min(perSeq*int64(o.maxSeqs), most)
	if o.kvBytes > free {
		return 0, usage("--kv-cache-memory-bytes %d is more than the %d bytes of memory that are free", o.kvBytes, free)
	}
	if o.kvBytes > 0 {
		if blocks = min(o.kvBytes/block, most); blocks < perSeq {
			return 0, usage("--kv-cache-memory-bytes %d holds %d tokens in blocks of %d bytes, but --max-model-len is %d: give at least %d bytes, or a smaller --max-model-len",
				o.kvBytes, blocks*int64(o.blockSize), block, context, perSeq*block)
		}
		return int(blocks), nil
	}
	if blocks = min(blocks, free/kvShare/block); blocks < perSeq {
		return 0, usage("a quarter of the %s of free memory holds %d tokens of KV cache, but --max-model-len is %d: give a smaller --max-model-len, or %d with --kv-cache-memory-bytes",
			size(free), blocks*int64(o.blockSize), context, perSeq*block)
	}
	return int(blocks), nil
}
