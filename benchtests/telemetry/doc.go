// Package telemetry measures what a server and the suite take from the machine
// while a case runs: memory and CPU time, and of GPUs memory, energy and what
// their speed depends on.
//
// # Pipeline
//
//  1. OpenGPUs opens the GPUs that servers are given, once for a run. Those that
//     -gpus selects are found by selectGPUs; GPUs.About describes them for the
//     run's environment. Before a server is started, GPUs.MemoryUsed tells what
//     others hold, and whether the last server's memory is back.
//  2. Watch makes a source of all that a Server has: its process tree
//     (watchProcesses), its container (watchContainer), its GPUs (watchGPUs). Each
//     takes its first sample at once, so that the case begins behind it, and goes
//     on by itself (source.run).
//  3. processes reads every process once (reader), finds the server's process and
//     its descendants (tree), and notes the CPU time that each has used so far.
//     Ten times a second tree.sample reads the processes it knows and adds up
//     their resident memory. About once a second, and never for more than half
//     a percent of the time, tree.grow looks for new descendants and
//     tree.pss reads proportional memory, in which a page that several
//     processes share counts once. The kernel walks a process's whole page
//     table for that, which would slow down a large server if done at 10 Hz.
//  4. container asks the daemon once a second for the control group's working set
//     and CPU time.
//  5. gpuWatch looks at the GPUs ten times a second (gpuWatch.look), less often
//     where the driver's calls would take more than 1% of a core, and reads the
//     energy counters at both ends.
//  6. loadWatch asks the server about once a second, and never for more than half a
//     percent of the time, how many requests it computes, how many wait, and how much
//     of its KV cache is in use.
//  7. Stop takes a last sample of each (source.run) and returns a results.Usage
//     (source.fill). A source that hangs is given up.
//
// # CPU time of a tree whose processes come and go
//
// A process's time includes that of the descendants it has waited for, so the
// sum over the living processes keeps what a child used when the child ends
// and its parent in the tree waits for it. A member that ended without its
// parent taking over its time (an orphan, or a parent that ignores SIGCHLD) is
// remembered with the last time that was read (tree.retire).
//
// # Containers
//
// Where the container's processes are seen here they are read as any others; its
// control group's figures stand beside them. Where they are not (a daemon on
// another machine) the control group's stand in for them. The working set is
// what is in use less the file cache that can be dropped, which is not quite a
// sum of resident memory.
//
// # GPUs
//
// Figures come from NVIDIA's management library (NVML) through go-nvml. It takes
// cgo and is linked only with -tags gpu; it loads the driver's library when
// OpenGPUs is called (nvml.go). Without the tag OpenGPUs returns
// ErrNoGPUSupport, and without a driver or a device ErrNoGPU.
//
//   - Memory of the server: that of the processes in its tree, as the driver lists
//     them. The driver numbers processes as the machine does outside containers:
//     where this program runs in a container they cannot be told apart. Then
//     it is what the GPUs hold beyond Server.GPUMemoryBefore, and a note says so.
//   - Memory of the devices: all that is in use, whoever uses it. What the driver
//     keeps for itself counts only with drivers before 510.
//   - Utilisation: the share of time in which any kernel ran, as the driver tells it
//     for its last sixth of a second to one second. It says nothing of how much of
//     the GPU was at work.
//   - Power: the mean of readings over time, by the trapezoidal rule.
//   - Energy: the difference of the counters, which count from when the driver was
//     loaded; where there are none (before Volta) the integral of power.
//   - Throttle reasons: the share of looks in which each held clocks down. That a
//     GPU is idle is not one of them.
//
// Several GPUs make one figure: memory, power and energy are summed, at each look
// before a peak or a mean is taken; utilisation and clocks are averaged; the
// temperature is that of the hottest; a throttle reason is there when one of them
// has it. A figure that one GPU fails to give, or gives no longer, is absent for
// all: a sum over some is not the sum, a peak over part of the time is not the peak.
//
// A GPU that is partitioned (MIG) is its instances. They have memory and processes;
// everything else is told of the whole GPU, others' work included, and is absent.
//
// One look costs 0.5 µs of CPU time for one GPU and 4 µs for eight, which is
// 0.0005% and 0.004% of a core at 10 Hz (BenchmarkLookAtGPUs, on an AMD EPYC), and
// what the driver's calls take on top. That is measured at each look, on a thread
// of its own, and the next look is put off by 110 times as long (gpuDuty).
//
// # What cannot be had
//
// A figure that cannot be had is 0 in results.Usage, and nil in its GPU, where 0
// is a figure; a note says why: the process was gone or hidden, it ended during
// the case, the system does not tell. Nothing here fails, panics or blocks.
//
// On Linux the files below /proc are read directly: gopsutil v3 starts a pgrep
// for the children of every process, tells create times in whole seconds, and
// not the CPU time of children that have ended. Elsewhere gopsutil it is.
package telemetry
