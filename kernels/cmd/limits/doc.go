// Command limits measures what the CPU and its memory do at most, which is what
// the kernels' speed is judged by: reading memory, float32 multiply-adds and
// bfloat16 dot products, on one core and on all of them.
//
//	limits [-repeat N] [-threads LIST]
//
// It prints a line in Go's benchmark format for every repetition, for benchstat,
// and a table with each limit's median and spread.
//
//  1. main reads the flags.
//  2. measure opens a cpu.Probe for each number of threads and kind of page, and
//     takes one measurement of each in turn, as often as asked for: what drifts
//     in the machine then moves all of them.
//  3. table writes the table.
package main
