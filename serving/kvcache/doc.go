// Package kvcache accounts for the blocks of a paged KV cache. It owns no
// memory: block b of B tokens stands for slots b·B … b·B+B−1 of every layer of
// the cache that the device made (kernels.KVShape), and package sched decides
// who gets it. A sequence's cache, in the order things happen to it:
//
//  1. Pool.Grow gives a sequence's Table enough blocks for so many tokens,
//     all of them or none.
//  2. Table.Slot says where the key and value of a position go.
//  3. Pool.Free takes the blocks back when the sequence ends or is preempted.
//
// Blocks are counted by the tables that hold them. Pool.Share lets a table
// begin with full blocks of another one: prefix reuse by block hash is a map
// from a block's hash to its id in front of it, and needs nothing else here.
// Only full blocks are shared and a sequence writes only behind them, so no
// block is ever copied.
//
// Pool.Check verifies the accounts against the tables that are in use, as
// bbolt's Check does for its pages; tests call it after every step.
package kvcache
