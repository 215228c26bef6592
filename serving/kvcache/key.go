package kvcache

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
)

// Key names the content of a full block: the SHA-256 of the key of the block
// before it (zeros for the first) and of its tokens, each as four bytes, so that
// equal keys mean equal tokens from the sequence's beginning on. Prompts are
// foreign input, and with a hash that can be made to collide one client could
// have another's keys and values used for its own prompt; comparing tokens
// instead would mean keeping those of all blocks before it as well.
type Key [sha256.Size]byte

// Chain is the keys of a sequence's full blocks, in order. The zero value is an
// empty one.
type Chain struct {
	keys []Key
	buf  []byte // of one block: what is hashed
}

// Extend adds the keys of the full blocks of tokens, the sequence's from its
// beginning, that the chain lacks. With room, it allocates nothing.
func (c *Chain) Extend(tokens []int32, blockSize int) {
	var parent Key
	if n := len(c.keys); n > 0 {
		parent = c.keys[n-1]
	}
	for end := (len(c.keys) + 1) * blockSize; end <= len(tokens); end += blockSize {
		c.buf = append(c.buf[:0], parent[:]...)
		for _, id := range tokens[end-blockSize : end] {
			c.buf = binary.LittleEndian.AppendUint32(c.buf, uint32(id))
		}
		parent = sha256.Sum256(c.buf)
		c.keys = append(c.keys, parent)
	}
}

// Reserve makes room for the keys of so many tokens.
func (c *Chain) Reserve(tokens, blockSize int) {
	c.keys = slices.Grow(c.keys, max(0, tokens/blockSize-len(c.keys)))
	c.buf = slices.Grow(c.buf, len(Key{})+4*blockSize)
}

// Keys returns the chain's keys, valid until the next Extend.
func (c *Chain) Keys() []Key { return c.keys }

// index finds blocks by key: a hash table with chains through the blocks, all
// of whose memory is there from the start. A Go map would grow within a step.
type index struct {
	keys  []Key   // [blocks], of those that are keyed
	keyed []bool  // [blocks]
	heads []int32 // [a power of two] first block of each bucket, or none
	next  []int32 // [blocks] the one behind it in its bucket, or none
}

const none = -1

func newIndex(blocks int) index {
	buckets := 1
	for buckets < blocks {
		buckets *= 2
	}
	x := index{
		keys: make([]Key, blocks), keyed: make([]bool, blocks),
		heads: make([]int32, buckets), next: make([]int32, blocks),
	}
	for i := range x.heads {
		x.heads[i] = none
	}
	return x
}

// bucket is where a key belongs; its bytes are random already.
func (x *index) bucket(k *Key) *int32 {
	return &x.heads[binary.LittleEndian.Uint64(k[:])&uint64(len(x.heads)-1)]
}

// find returns the block with that key, or none.
func (x *index) find(k *Key) int32 {
	b := *x.bucket(k)
	for b != none && x.keys[b] != *k {
		b = x.next[b]
	}
	return b
}

// add gives block b, which has none, a key that no block has.
func (x *index) add(b int32, k *Key) {
	head := x.bucket(k)
	x.keys[b], x.keyed[b], x.next[b] = *k, true, *head
	*head = b
}

// remove takes a block's key away, if it has one.
func (x *index) remove(b int32) {
	if !x.keyed[b] {
		return
	}
	at := x.bucket(&x.keys[b])
	for *at != b {
		at = &x.next[*at]
	}
	*at, x.keyed[b] = x.next[b], false
}
