// Package kerneltest is the test of every device: it runs one table of cases
// on the device and on kernels/ref, and compares.
//
//  1. Run opens the device once for each dtype and runs all groups of cases.
//  2. ops.go has the cases of each operation: odd sizes, borders of blocks,
//     tiles and vectors, every tensor type and layout. want comes from ref,
//     which accumulates in float64; tolerance.go says how far got may be from
//     it and why. What lies outside of an operation's rows must stay as it was.
//  3. batch.go runs a small model over several sequences in many ways (alone,
//     together, in chunks of any size, token by token, in other blocks) and
//     demands the same bits for each row.
//  4. errors.go has what must be refused, and how.
//  5. draw.go has the cases of a kernels.Drawer, with a sampler of its own as the
//     truth, graph.go those of a kernels.Grapher; they run where a device is one.
//
// A device's test calls Run with a function that opens it, and with what the device
// does in a way of its own (Traits).
package kerneltest
