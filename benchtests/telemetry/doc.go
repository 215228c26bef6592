// Package telemetry measures what a server's processes and the suite take
// from the machine while a case runs: memory and CPU time.
//
// # Pipeline
//
//  1. Watch reads every process once (reader), finds the server's process and
//     its descendants (tree), and notes the CPU time that each has used so far.
//  2. Ten times a second tree.sample reads the processes it knows and adds up
//     their resident memory. About once a second, and never for more than half
//     a percent of the time, tree.grow looks for new descendants and
//     tree.pss reads proportional memory, in which a page that several
//     processes share counts once. The kernel walks a process's whole page
//     table for that, which would slow down a large server if done at 10 Hz.
//  3. Stop takes a last sample and returns a results.Usage.
//
// # CPU time of a tree whose processes come and go
//
// A process's time includes that of the descendants it has waited for, so the
// sum over the living processes keeps what a child used when the child ends
// and its parent in the tree waits for it. A member that ended without its
// parent taking over its time (an orphan, or a parent that ignores SIGCHLD) is
// remembered with the last time that was read (tree.retire).
//
// # What cannot be had
//
// A figure that cannot be had is 0 in results.Usage, which means just that,
// and a note says why: the process was gone or hidden, it ended during the
// case, the system does not tell. Nothing here fails, panics or blocks.
//
// On Linux the files below /proc are read directly: gopsutil v3 starts a pgrep
// for the children of every process, tells create times in whole seconds, and
// not the CPU time of children that have ended. Elsewhere gopsutil it is.
package telemetry
