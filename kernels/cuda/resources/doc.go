// Package resources tells what the compiled CUDA kernels take of a GPU's
// multiprocessors, and holds it against a table that is checked in: a change of a
// kernel that costs registers, spills them or lowers how many blocks fit shows in
// the diff of kernels/cuda/resources.csv, and fails the test until it does.
//
//  1. kernels/cuda/build.sh keeps what ptxas says of every kernel and architecture
//     (NAME.log), and the PTX that it was given (NAME/*.ptx), in bin/obj/cuda.
//  2. ReadBuild (build.go) reads both: registers, spills, stack and static shared
//     memory from the log (ptxas.go), threads a block from the PTX's .maxntid, which
//     __launch_bounds__ makes (ptx.go).
//  3. Occupancy (occupancy.go) counts the warps that fit on a multiprocessor, by the
//     limits that the CUDA C++ Programming Guide has for each compute capability.
//  4. Table (table.go) reads and writes the CSV; Differ says what has changed.
//
// `make cuda-resources` writes the table anew (command kernels/cmd/resources).
//
// The tests that need a built library are skipped, and say so, where there is
// none; SERVEBENCH_CUDA=required makes them fail instead, as CI does.
package resources
