// Package benchtests is the suite: it runs every case of the matrix of
// frameworks, models, tasks, modes and numbers of requests in flight as one
// benchmark of go test, and writes what it measured to results/runs.
//
//	go test ./benchtests -run '^$' -bench . -benchtime 100x -task chat,qa -parallel 1
//
// # Pipeline
//
//  1. TestMain (serve_test.go) reads the flags (options.go). Unless benchmarks
//     are to run it does nothing else.
//  2. open (suite.go) finds the models (model.go; wheel.go where there is no hub),
//     opens the run's folder, goes on with the last run if that was cut short,
//     and measures the suite itself against a server that answers at once
//     (ceiling.go).
//  3. BenchmarkServe walks over the matrix (matrix.go). The first case that is
//     due in a group (a framework with a model) prepares the prompts (prompts.go)
//     and has the server, which all cases of the group share (group.go): options.choose
//     (launcher.go) says whether it is a container, a process or an endpoint,
//     suite.takeGPUs (exclusive.go) makes the GPUs free for it, and group.start
//     (server.go) starts it and writes down what it is.
//  4. For each case, pass by pass: suite.measure (measure.go) warms the server
//     up with prompts of its own, finds out whether what it gives may stand beside
//     other frameworks' figures (contract.go, package contract), makes the prompts
//     cold, sends one request an iteration in a closed loop
//     (package load) through package client while package telemetry watches the
//     server's processes, decodes and recounts what came back, and hands it to
//     results.Run.Add, which puts it on the disk.
//  5. suite.close ends what is left and says which cases are still to be done.
//
// # What a framework cannot do
//
// A case is the same for all frameworks. Where one cannot do what the case asks
// it is adapted by a rule, and the row's notes say so: adaptations (adapt.go) has
// them all. What would make the row another case is refused instead.
//
// # One server at a time
//
// A group's server is stopped before the next group's starts. Where servers have
// GPUs the next one waits, for a minute at most, until no more of their memory is
// in use than before the first; the error names who holds it. -shared-gpu does
// not wait, for GPUs that other programs use too.
//
// # Iterations and passes
//
// One iteration is one request: -benchtime 100x sends 100, in the fixed order of
// the draw, and begins anew at its end (a note in the row says so); -benchtime
// 30s sends as many as it takes, and the same number on every stream. b.Loop runs the body of a benchmark once, so no
// trial iteration gets into a measurement. A pass is one measurement of a case;
// -repeat N (or -count N) makes N of them, one line of output each, which is what
// benchstat's statistics need: ask for at least 6, better 10.
//
// # Cold prompts
//
// A server that keeps what prompts begin with answers a prompt that it has seen
// several times faster. Such caches are therefore turned off, where the
// framework has them, and every pass over a case may send the same prompts.
// With -enable-prefix-caching they stay on. Then, before each pass over a task
// with a dataset, the server is told to empty its cache where it can, and every
// prompt of the pass begins with some digits of the pass's own, on all frameworks
// alike. The rows' cache column says what was done (go doc servebench/benchtests/contract.Cold). The fixed tasks, with
// prompts and answers of set lengths (datasets.DrawFixed), have other prompts in
// every pass and case, so that a cache is of use exactly where they are to begin
// alike: there the warm-up has the prefix too.
//
// The answers of fixed tasks run to their length where the framework can be
// made to: each target says how, which the row repeats, and
// answers of another length are counted in it.
//
// The command cmd/compare runs the suite for several frameworks in turns.
//
// # GPUs
//
// With -tags gpu the suite measures on GPUs (-device cuda) and watches those that
// servers are given (-gpus); the default frameworks are those that compute there.
// On a machine without a driver or a device it says which is missing and exits
// with 1 before anything is begun: cases that were not measured may not look like
// a pass. -device cpu asks no driver for anything, in such a program too, so
// that servers which need no GPU, or simulate one, can be measured with it. A
// server at -host is somebody else's; the GPUs of this machine are watched for it
// where -gpus names some. Without -tags gpu, -device cuda is refused.
//
// # The contract between frameworks
//
// Every row says whether the framework was fed the same tokens, ran the same
// weights in the same type, wrote as much and said the same when asked greedily
// as the first framework of the run, or as that of another run (-reference). What
// was checked before the measurement is in contract.json; a row that breaks the
// contract is marked in every output, and its line in bench.txt has a
// configuration of its own, so that benchstat puts it in no table with others.
//
// # Whatever happens
//
// A pass that is finished is on the disk before the next one begins. A pass
// whose server died is finished too: its benchmark fails, its row in results.csv
// counts the failed requests, and the next case gets a new server. SIGINT,
// SIGTERM and SIGHUP end the requests in flight, stop the server with all that it
// started, and exit with 128 plus the signal's number; a second one exits
// at once. If the suite is killed, a reaper ends the server (package launch).
// When the time that -timeout gives does not suffice, the suite ends before go
// test would kill it, exits with 75, and goes on when it is run again.
package benchtests
