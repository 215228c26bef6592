// Package kvcache accounts for the blocks of a paged KV cache. It owns no
// memory: block b of B tokens stands for slots b·B … b·B+B−1 of every layer of
// the cache that the device made (kernels.KVShape), and package sched decides
// who gets it. A sequence's cache, in the order things happen to it:
//
//  1. Pool.Find looks for its beginning among the blocks whose content is
//     known; Pool.Share makes what is found the beginning of its Table.
//  2. Pool.Grow gives the table enough blocks for so many tokens, all of them
//     or none.
//  3. Table.Slot says where the key and value of a position go.
//  4. Pool.Register makes a block findable once it is full, or will be by the
//     time that who finds it reads it.
//  5. Pool.Pass lets go of blocks that an attention window has left behind. The
//     table keeps their places, as Freed.
//  6. Pool.Free takes the blocks back when the sequence ends or is preempted.
//
// # Prefix reuse
//
// A full block is known by its Key, a hash of all tokens up to its end (Chain
// computes them). Blocks are counted by the tables that hold them; only full
// blocks are shared and a sequence writes only behind them, so no block is ever
// copied. A known block that nobody holds is free like any other, but is handed
// out after all unknown ones, the one freed longest ago first (LRU), and stays
// findable until then; so a preempted sequence finds its own blocks again as far
// as they were not needed.
//
// A model with a window needs only the blocks that the next position sees: Find
// looks for the longest beginning whose last blocks are there, whatever became
// of those before them. They are chained all the same, so a block is right for
// what came before the window, too, which deeper layers have seen.
//
// A block whose content is in doubt (its step failed) is made unknown: Forget.
//
// Pool.Check verifies the accounts against the tables that are in use, as
// bbolt's Check does for its pages; tests call it after every step.
package kvcache
