package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"syscall"
	"time"

	"servebench/serving/api"
)

// Exit statuses.
const (
	exitOK    = 0
	exitFault = 1
	exitUsage = 2
)

// Limits of the HTTP server; the API sets those of bodies and writes.
const (
	readHeaderLimit = 10 * time.Second
	// idleLimit is far above the pauses of a benchmark's client, so that no
	// request meets a connection that is just being closed (vLLM: 5 s).
	idleLimit = 2 * time.Minute
)

// console is where people read what happens. Lines do not mix.
type console struct {
	mu sync.Mutex
	w  io.Writer
}

func (c *console) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.w.Write(b)
}

func (c *console) say(format string, args ...any) { fmt.Fprintf(c, "serve: "+format+"\n", args...) }

// fail tells an error and returns its exit status.
func (c *console) fail(err error) int {
	c.say("error: %v", err)
	if errors.As(err, &usageError{}) {
		c.say("serve --help lists all flags")
		return exitUsage
	}
	return exitFault
}

// run is the whole program; it returns the exit status.
func run(args []string, stdout, stderr io.Writer, signals <-chan os.Signal) int {
	c := &console{w: stderr}
	o, err := parseFlags(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return c.fail(err)
	case o.version:
		fmt.Fprintf(stdout, "servebench %s (%s %s/%s)\n", version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
		for _, line := range o.devices() {
			fmt.Fprintln(stdout, line)
		}
		return exitOK
	}
	ln, err := listen(o)
	if err != nil {
		return c.fail(err)
	}
	return serve(o, c, ln, signals)
}

// listen takes the port, before any of the long work.
func listen(o *options) (net.Listener, error) {
	ln, err := net.Listen("tcp", net.JoinHostPort(o.host, strconv.Itoa(o.port)))
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("port %d of %s is in use by another process: stop that one, or give another --port (0 takes a free one)", o.port, o.host)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on --host %s --port %d: %w", o.host, o.port, err)
	}
	return ln, nil
}

// serve answers on ln until a signal.
func serve(o *options, c *console, ln net.Listener, signals <-chan os.Signal) int {
	var gate api.Gate
	srv := &http.Server{Handler: &gate, ReadHeaderTimeout: readHeaderLimit, IdleTimeout: idleLimit,
		ErrorLog: log.New(c, "serve: http: ", 0)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	defer srv.Close()
	url := "http://" + ln.Addr().String()
	c.say("version %s, listening on %s, answering 503 until the model is loaded", version(), url)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type outcome struct {
		s   *server
		err error
	}
	loaded := make(chan outcome, 1)
	go func() {
		s, err := load(ctx, o, c)
		loaded <- outcome{s, err}
	}()
	var l outcome
	select {
	case l = <-loaded:
	case err := <-served:
		return c.fail(fmt.Errorf("the HTTP server ended: %w", err))
	case sig := <-signals:
		// What is being loaded is not waited for: the process ends.
		c.say("%v while loading: stopped", sig)
		return exitOK
	}
	if l.err != nil {
		return c.fail(l.err)
	}
	gate.Open(l.s.api)
	c.say("ready on %s, serving %q with up to %d tokens of context", url, o.names, l.s.engine.MaxModelLen())
	select {
	case err := <-served:
		return c.fail(errors.Join(fmt.Errorf("the HTTP server ended: %w", err), l.s.close(ctx)))
	case sig := <-signals:
		return stop(o, c, srv, l.s, sig, signals)
	}
}

// engineLimit is how long the engine gets to end once its requests are cut
// off: a step, and far more.
const engineLimit = 10 * time.Second

// stop lets running requests end for --shutdown-timeout, cuts off the rest, and
// ends at once, with a fault's status, at another signal.
func stop(o *options, c *console, srv *http.Server, s *server, sig os.Signal, signals <-chan os.Signal) int {
	c.say("%v: no new requests; those that run get %v; another signal ends them at once", sig, o.shutdownTimeout)
	done := make(chan error, 1)
	go func() {
		grace, cancel := context.WithTimeout(context.Background(), o.shutdownTimeout)
		defer cancel()
		err := srv.Shutdown(grace)
		if errors.Is(err, context.DeadlineExceeded) {
			st := s.engine.Stats()
			c.say("cutting off %d requests that still run and %d that wait", st.Running, st.Waiting)
			err = nil
		}
		limit, cancel := context.WithTimeout(context.Background(), engineLimit)
		defer cancel()
		// Requests that are left end with an error here, which their clients
		// are told; Shutdown then waits for the telling, but not for those who
		// do not listen.
		err = errors.Join(err, s.close(limit))
		if e := srv.Shutdown(limit); e != nil && !errors.Is(e, context.DeadlineExceeded) {
			err = errors.Join(err, e)
		}
		done <- err
	}()
	select {
	case err := <-done:
		if err != nil {
			return c.fail(err)
		}
		c.say("stopped")
		return exitOK
	case sig := <-signals:
		c.say("%v again: ended at once", sig)
		return exitFault
	}
}

// version is the module's version as the Go toolchain stamps it: a tag, or the
// commit's pseudo-version, with +dirty.
func version() string {
	if b, ok := debug.ReadBuildInfo(); ok && b.Main.Version != "" {
		return b.Main.Version
	}
	return "unknown"
}
