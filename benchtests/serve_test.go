package benchtests

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"servebench/benchtests/launch"
	"servebench/datasets/tokenizertest"
	"servebench/results"
)

// The suite of this process; nil unless benchmarks are to run.
var (
	running    atomic.Pointer[suite] // the signal handler looks at it too
	runningCtx context.Context
	inMatrix   atomic.Bool // BenchmarkServe is at work and looks at runningCtx
)

func TestMain(m *testing.M) {
	launch.Main()
	fakeServeMain()
	replayMain()
	tokenizertest.Main()
	os.Exit(testMain(m, time.Now()))
}

func testMain(m *testing.M, began time.Time) int {
	values := register(flag.CommandLine)
	flag.Parse()
	if !benchmarksAsked() {
		if err := looksForCases(testFlag[string]("test.bench")); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return exitUsage
		}
		return m.Run()
	}
	opt, err := values.check(flag.CommandLine)
	if err == nil && opt.repeat > 0 {
		err = flag.Set("test.count", strconv.Itoa(opt.repeat))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitUsage
	}
	var s *suite
	ctx := onSignal(context.Background(), inMatrix.Load, func() {
		if s := running.Load(); s != nil {
			s.stopServers()
		}
	})
	s, err = open(ctx, opt, config{
		passes: int(testFlag[uint]("test.count")), timeout: testFlag[time.Duration]("test.timeout"), began: began, log: os.Stderr,
	})
	if err == nil {
		err = results.WriteUnits(os.Stdout, opt.kinds()...)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return statusOf(ctx, 1)
	}
	runningCtx = ctx
	running.Store(s)
	code := m.Run()
	if ctx.Err() == nil && len(s.begun)+len(s.replayed) == 0 {
		fmt.Fprintf(os.Stderr, "no case was run: -bench %q matches none; %s\n", testFlag[string]("test.bench"), caseNames)
		code = max(code, 1)
	}
	return statusOf(ctx, s.close(ctx, code))
}

const caseNames = "a case is named BenchmarkServe/framework=custom/model=gpt2/task=qa/mode=stream/parallel=1, " +
	"and -bench is a pattern for each part, as in -bench 'Serve/.*/.*/task=qa'"

// looksForCases refuses a pattern that is meant for cases but begins in the
// middle of their names: go test would find nothing to run and call it a success.
func looksForCases(pattern string) error {
	for _, key := range []string{"framework=", "model=", "task=", "mode=", "parallel="} {
		if strings.Contains(pattern, key) {
			return fmt.Errorf("-bench %q matches no case; %s", pattern, caseNames)
		}
	}
	return nil
}

// benchmarksAsked reports whether go test is to run BenchmarkServe.
func benchmarksAsked() bool {
	pattern := testFlag[string]("test.bench")
	if pattern == "" || testFlag[string]("test.list") != "" {
		return false
	}
	first, _, _ := strings.Cut(pattern, "/")
	asked, err := regexp.MatchString(first, "BenchmarkServe")
	return asked || err != nil // go test tells what is wrong with the pattern
}

func testFlag[T any](name string) T {
	return flag.Lookup(name).Value.(flag.Getter).Get().(T)
}

// statusOf returns the exit status: a signal's if one arrived.
func statusOf(ctx context.Context, code int) int {
	var why interruption
	if errors.As(context.Cause(ctx), &why) {
		return why.status()
	}
	return code
}

// BenchmarkServe is the matrix.
func BenchmarkServe(b *testing.B) {
	s := running.Load()
	inMatrix.Store(true)
	defer inMatrix.Store(false)
	for _, m := range s.models {
		if m.dummy {
			fmt.Println("weights: dummy") // keeps these figures out of tables with others
		}
		for _, t := range s.opt.frameworks {
			g := s.group(t, m)
			for _, c := range s.opt.cases(t.Name, m.Name) {
				b.Run(c.String(), func(b *testing.B) { serveCase(b, s, g, c) })
			}
			s.fault(g.close(runningCtx))
		}
		if m.dummy {
			fmt.Println("weights:")
		}
	}
}

// serveCase is one pass over a case.
func serveCase(b *testing.B, s *suite, g *group, c results.Case) {
	repeat, due := s.next(c)
	if !due {
		replay(b, s, c)
		return
	}
	first := !s.begun[c]
	s.begun[c] = true
	ctx, cancel := s.clock.bound(runningCtx)
	defer cancel()
	err := context.Cause(ctx)
	if err == nil {
		err = s.clock.fits()
	}
	var sum *results.Summary
	if err == nil {
		began := time.Now()
		sum, err = s.measure(ctx, g, c, repeat, source(b, c.Parallel))
		s.clock.took(time.Since(began))
	}
	if sum == nil {
		s.leave(c, repeat)
		var why interruption
		if first && (errors.As(err, &why) || errors.Is(err, errNoTime)) {
			b.Skip(err) // prints nothing; later the name is printed already, and no line without figures may follow
		}
		b.Fatal(err)
	}
	explain(b, sum)
	if err != nil {
		b.Log(err)
	}
	report(b, s, sum)
}

// source returns what decides whether there is another iteration: b.Loop for
// -benchtime 100x. For -benchtime 30s it is the clock: b.Loop guesses the number
// of iterations from how long those before it took, but several requests are in
// flight here, and the first ones are handed out at once. The number is then a
// multiple of those in flight: streams of one length end together, and a last
// few of them alone would be measured at another load than the case's.
func source(b *testing.B, parallel int) func() bool {
	limit, err := time.ParseDuration(flag.Lookup("test.benchtime").Value.String())
	if err != nil {
		return b.Loop
	}
	var began time.Time
	n := 0
	return func() bool {
		if n == 0 {
			b.ResetTimer()
			began = time.Now()
		} else if n%parallel == 0 && time.Since(began) >= limit {
			//lint:ignore SA3001 this is the number of iterations; testing asks for no more when the time has passed
			b.N = n
			return false
		}
		n++
		return true
	}
}

// replay prints a pass that an earlier run of the suite has done. go test calls
// the function with b.N = 1 and then again with more, for one line.
func replay(b *testing.B, s *suite, c results.Case) {
	first := b.N == 1
	if first {
		s.replayed[c]++
	}
	sum, _ := s.run.Done(c, (s.replayed[c]-1)%s.passes)
	//lint:ignore SA3001 the line is to show how many requests were measured then
	b.N = sum.Requests
	if first {
		explain(b, sum)
	}
	report(b, s, sum)
}

// explain logs what a reader of the line should know.
func explain(b *testing.B, sum *results.Summary) {
	for _, note := range sum.Notes {
		if !strings.HasPrefix(note, ceilingNote) {
			b.Log(note)
		}
	}
	if sum.Failed > 0 {
		b.Logf("%d of %d requests failed %v; the first: %s", sum.Failed, sum.Requests, sum.Errors, sum.First)
	}
}

// report makes a pass the result of the benchmark.
func report(b *testing.B, s *suite, sum *results.Summary) {
	if sum.Failed == sum.Requests {
		b.Fatalf("all %d requests failed", sum.Requests)
	}
	if n := sum.Errors[results.ClassServerDied]; n > 0 {
		b.Errorf("the server died with %d requests in flight", n)
	}
	if s.opt.throughputOnly {
		b.ReportMetric(0, "ns/op") // takes testing's own figure out of the line
	}
	for _, v := range sum.Values(s.opt.kinds()...) {
		b.ReportMetric(v.Value, v.Unit)
	}
}
