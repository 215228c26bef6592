// Package launch starts the server that a case is measured on, waits until it
// is ready, and makes sure that nothing of it is left behind.
//
// # Pipeline
//
//  1. FreePort finds a port; the target's command line gets it.
//  2. Start runs a Command as a tree of processes (process.go), its output in a log
//     file, and polls its readiness route. A server that dies first, or is not
//     ready in time, is an error with the last lines of its log.
//  3. The caller measures against Server.URL, looks at Server.Exited, and reads
//     memory and CPU time of the process tree of Server.PID.
//  4. Stop asks the leader's group to end (SIGTERM), and kills the tree when it does
//     not in time.
//
// Endpoint is a server that somebody else runs: nothing is started or stopped.
// Process, Container and Endpoint are a Server.
//
// # Pipeline of a container
//
//  1. ContainerCommand.check (container_check.go) refuses what no daemon can do.
//  2. dial (container_daemon.go) finds the Docker daemon, or Podman's service:
//     here, or elsewhere if DOCKER_HOST says so. sweep (container_sweep.go) removes
//     what a killed suite left there.
//  3. image (container_image.go) builds the image, or pulls it if it is not there,
//     and tells how far it is. The time that takes is not the server's to start in.
//  4. create and run (container_start.go) make the container and a network of its
//     own and start it. Its port is published on the loopback interface, or, of a
//     daemon elsewhere, on all of its machine's.
//  5. watch (container_log.go) writes the log, without secrets, and waits for the
//     end. address finds the URL; the readiness route is polled as a process's is.
//  6. Container.Usage (container_usage.go) reads memory and CPU time as often as asked.
//  7. Stop sends SIGTERM, kills after StopTimeout, and removes container and network.
//
// Mounts are folders of the daemon's machine: a daemon elsewhere must have them.
// Without Docker every error says what else there is: -launch process, -host URL.
//
// # What a process gets
//
// Command.CPUs binds all its processes, Command.Env adds variables and
// Command.Drop takes some away; Environment of a Python folder has the variables
// that make it the one in use, and LookPath finds a program in it.
//
// # What is left behind
//
// Nothing, on Linux. Between the suite and the server stands a reaper: the suite's
// own executable, started anew and turned into it by Main. It is the subreaper
// of all that the server starts (PR_SET_CHILD_SUBREAPER), so a process whose
// parent has ended becomes its child, in whatever group or session it is. When
// the server's leader has ended, by itself, crashed, or stopped, the reaper kills
// its own children, round by round, until wait4 says that there is none
// (reaper.clear); Exited is closed after that. It does so too when the suite is gone,
// however that ended: the pipe of its orders then has an end.
//
// The reaper itself could be killed. Then the kernel kills the leader
// (PR_SET_PDEATHSIG), and the suite what is left of the reaper's session; a daemon
// that made a session of its own escapes then, and only then.
//
// Other systems have no subreaper: there the rest of the leader's group is
// killed when the leader ends, and only an orderly end of the suite, SIGINT and
// SIGTERM included, stops the server.
//
// A container is the daemon's child, so it outlives the suite. StartContainer
// removes it when it fails or its context ends, Stop always does; a suite that
// catches SIGINT and SIGTERM leaves none. When the suite is killed, Ryuk removes
// container and network ten seconds later: a container that testcontainers runs
// for that, unless TESTCONTAINERS_RYUK_DISABLED=true. Without it they stay until
// the next StartContainer on this machine, whose sweep finds them by their labels:
// the machine and process number that they name, and when that process began.
package launch
