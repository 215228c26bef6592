// Package launch starts the server that a case is measured on, waits until it
// is ready, and makes sure that nothing of it is left behind.
//
// # Pipeline
//
//  1. FreePort finds a port; the target's command line gets it.
//  2. Start runs a Command as the leader of a process group of its own, its
//     output in a log file, and polls its readiness route. A server that dies
//     first, or is not ready in time, is an error with the last lines of its log.
//  3. The caller measures against Server.URL, looks at Server.Exited, and reads
//     memory and CPU time of the process tree of Server.PID.
//  4. Stop asks the group to end (SIGTERM), and kills it when it does not in time.
//
// Endpoint is a server that somebody else runs: nothing is started or stopped.
// Both are a Server; a container will be a third.
//
// # What is left behind
//
// Nothing, on Linux: when the leader ends, by itself or by Stop, the rest of its
// group is killed before the leader is reaped, so that the group's number cannot
// have become another's. When the suite itself is killed (SIGKILL, a panic, the
// timeout of go test), the kernel kills the leader (PR_SET_PDEATHSIG). That
// signal goes to the leader alone. One that puts its workers into groups of their
// own, as TGI's launcher does, leaves them behind when it is killed; with
// Command.Workers the kernel sends it SIGTERM, at which it ends them. A process
// outside the group whose leader crashed is out of reach.
//
// The kernel ties PDEATHSIG to the thread that started the process, so that
// thread is kept until the process is gone. Other systems have no such signal:
// there only an orderly end of the suite, SIGINT and SIGTERM included, stops
// the server.
package launch
