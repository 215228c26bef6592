//go:build unix

package benchtests

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets/tokenizertest"
	"servebench/results"
)

// bench is the suite as users run it: the test binary, in a process of its own.
type bench struct {
	t        *testing.T
	args     []string
	results  string // folder of the runs
	as       string // name of the model
	model    string
	serve    string // the server's program
	how      string // file that says how the server behaves
	out, err bytes.Buffer
	cmd      *exec.Cmd
}

// newBench makes a suite of gpt2 on the fake server.
func newBench(t *testing.T, b behaviour, args ...string) *bench {
	t.Helper()
	tokenizertest.Use(t, tokenizertest.Good)
	t.Setenv("GORACE", "atexit_sleep_ms=0") // or each process takes a second to end
	t.Setenv("GIT_DIR", os.DevNull)         // an edit of the checkout between two starts would begin a new run
	self, err := os.Executable()
	require.NoError(t, err)
	dir := t.TempDir()
	s := &bench{t: t, args: args, results: filepath.Join(dir, "runs"), as: "gpt2", model: modelFolder(t),
		serve: filepath.Join(dir, "serve"), how: filepath.Join(dir, "behaviour")}
	s.behave(b)
	script := fmt.Sprintf("#!/bin/sh\n%s=$(cat %s) exec %s \"$@\"\n", fakeServeEnv, s.how, self)
	require.NoError(t, os.WriteFile(s.serve, []byte(script), 0o755))
	return s
}

// behave says how a server that is started from now on behaves.
func (s *bench) behave(b behaviour) {
	require.NoError(s.t, os.WriteFile(s.how, []byte(b), 0o644))
}

// start starts the suite; more are flags behind the others.
func (s *bench) start(more ...string) {
	s.t.Helper()
	self, err := os.Executable()
	require.NoError(s.t, err)
	args := []string{"-test.run=^$", "-test.bench=.", "-test.benchtime=6x", "-results", s.results, "-model", s.as + "=" + s.model,
		"-start-timeout", "1m", "-concurrency", "1", "-device", deviceCPU}
	if all := append(slices.Clone(s.args), more...); !slices.Contains(all, "-host") && !slices.Contains(all, "-image") {
		args = append(args, "-serve-bin", s.serve)
	}
	s.out.Reset()
	s.err.Reset()
	s.cmd = exec.Command(self, slices.Concat(args, s.args, more)...)
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.err
	require.NoError(s.t, s.cmd.Start())
	s.t.Cleanup(func() { s.cmd.Process.Kill() })
}

// wait waits for the suite's end and returns its exit status, -1 if a signal
// ended it. No server may be left.
func (s *bench) wait() int {
	s.t.Helper()
	s.cmd.Wait()
	for _, pid := range s.servers() {
		for alive(pid) { // or go test's -timeout tells
			time.Sleep(10 * time.Millisecond)
		}
	}
	return s.cmd.ProcessState.ExitCode()
}

func (s *bench) run(more ...string) int {
	s.t.Helper()
	s.start(more...)
	return s.wait()
}

// alive reports whether a process runs; one that nobody has fetched does not.
func alive(pid int) bool {
	if stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err == nil {
		return !strings.Contains(string(stat), ") Z ")
	}
	return syscall.Kill(pid, 0) == nil
}

var pidLine = regexp.MustCompile(`process (\d+)`)

// servers returns the servers that were started, from their logs.
func (s *bench) servers() []int {
	logs, err := filepath.Glob(filepath.Join(s.results, "[0-9]*", "logs", "*"))
	require.NoError(s.t, err)
	var pids []int
	for _, log := range logs {
		text, err := os.ReadFile(log)
		require.NoError(s.t, err)
		if m := pidLine.FindSubmatch(text); m != nil {
			pid, err := strconv.Atoi(string(m[1]))
			require.NoError(s.t, err)
			pids = append(pids, pid)
		}
	}
	return pids
}

// records returns the newest run's CSV rows, by column.
func (s *bench) records() []map[string]string {
	s.t.Helper()
	f, err := os.Open(filepath.Join(s.results, "latest", "results.csv"))
	if os.IsNotExist(err) {
		return nil
	}
	require.NoError(s.t, err)
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	require.NoError(s.t, err)
	var records []map[string]string
	for _, line := range lines[1:] {
		record := map[string]string{}
		for i, column := range lines[0] {
			record[column] = line[i]
		}
		records = append(records, record)
	}
	return records
}

// rows returns them by task/mode/repeat: "failed/requests".
func (s *bench) rows() map[string]string {
	s.t.Helper()
	records := s.records()
	if records == nil {
		return nil
	}
	rows := map[string]string{}
	for _, r := range records {
		rows[r["task"]+"/"+r["mode"]+"/"+r["repeat"]] = r["failed"] + "/" + r["requests"]
	}
	return rows
}

// environment returns the newest run's.
func (s *bench) environment() results.Environment {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.results, "latest", "environment.json"))
	require.NoError(s.t, err)
	var e results.Environment
	require.NoError(s.t, json.Unmarshal(data, &e))
	return e
}

// lines returns the benchmark lines of a text by name, as often as each is there.
func lines(text string) map[string]int {
	found := map[string]int{}
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) > 3 && strings.HasPrefix(fields[0], "BenchmarkServe/") {
			name, _, _ := strings.Cut(fields[0], "-") // without GOMAXPROCS
			found[name]++
		}
	}
	return found
}

func (s *bench) benchTxt() string {
	text, err := os.ReadFile(filepath.Join(s.results, "latest", "bench.txt"))
	require.NoError(s.t, err)
	return string(text)
}

func TestSuite(t *testing.T) {
	s := newBench(t, good, "-task", "chat,qa", "-repeat", "2")
	copied := filepath.Join(t.TempDir(), "copy.csv")
	require.Zero(t, s.run("-csv", copied), "%s%s", &s.out, &s.err)

	want := map[string]int{}
	for _, task := range []string{"chat", "qa"} {
		for _, mode := range []string{"sync", "stream"} {
			want["BenchmarkServe/framework=custom/model=gpt2/task="+task+"/mode="+mode+"/parallel=1"] = 2
		}
	}
	assert.Equal(t, want, lines(s.out.String()), "each case twice under one name")
	assert.Equal(t, want, lines(s.benchTxt()))
	assert.Len(t, s.rows(), 8)
	unit, first := strings.Index(s.out.String(), "Unit p99-p2ft-ns better=lower"), strings.Index(s.out.String(), "BenchmarkServe/")
	assert.True(t, 0 <= unit && unit < first, "units come first")
	for row, failed := range s.rows() {
		assert.Equal(t, "0/6", failed, row)
	}
	assert.Len(t, s.servers(), 1, "one server for all cases")
	own, err := os.ReadFile(filepath.Join(s.results, "latest", "results.csv"))
	require.NoError(t, err)
	other, err := os.ReadFile(copied)
	require.NoError(t, err)
	assert.Equal(t, string(own), string(other))
	assert.NotContains(t, s.out.String(), "weights:", "the weights are not dummy")
}

// TestBenchTime gives a time in place of a number of iterations.
func TestBenchTime(t *testing.T) {
	s := newBench(t, good, "-task", "chat", "-repeat", "2")
	require.Zero(t, s.run("-test.benchtime=100ms", "-concurrency", "3"), "%s%s", &s.out, &s.err)
	got := map[string]string{}
	passes := map[string]int{}
	for line := range strings.Lines(s.out.String()) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "BenchmarkServe/") {
			continue
		}
		mode := strings.Split(fields[0], "/")[4]
		row := fmt.Sprintf("chat/%s/%d", strings.TrimPrefix(mode, "mode="), passes[mode])
		passes[mode]++
		got[row] = "0/" + fields[1]
		n, err := strconv.Atoi(fields[1])
		require.NoError(t, err)
		assert.Greater(t, n, 3, "more than one request a stream fits")
		assert.Zero(t, n%3, "as many on each stream")
	}
	assert.Len(t, got, 4)
	assert.Equal(t, s.rows(), got, "an iteration is a request")
}

func TestThroughputOnly(t *testing.T) {
	s := newBench(t, good, "-task", "chat", "-throughput-only", "-load-format", "dummy")
	require.Zero(t, s.run(), "%s%s", &s.out, &s.err)
	for _, text := range []string{s.out.String(), s.benchTxt()} {
		assert.Contains(t, text, " out-tok/s")
		assert.Contains(t, text, " req/s")
		assert.NotContains(t, text, "latency-ns")
		assert.NotContains(t, text, " ns/op\t")
		assert.Contains(t, text, "weights: dummy\n")
	}
}

// TestNothingToDo holds that neither go test without -bench nor a refused flag
// starts anything.
func TestNothingToDo(t *testing.T) {
	s := newBench(t, good)
	require.Zero(t, s.run("-test.bench="))
	assert.NoDirExists(t, s.results)
	require.Zero(t, s.run("-test.list=."))
	assert.NoDirExists(t, s.results)
	require.Zero(t, s.run("-test.bench=^BenchmarkOther$"))
	assert.NoDirExists(t, s.results)
	require.Equal(t, exitUsage, s.run("-task", "math"))
	assert.Contains(t, s.err.String(), "choose from chat, summarization, qa, code")
	assert.NoDirExists(t, s.results)

	require.Equal(t, exitUsage, s.run("-test.bench=task=chat"), "go test would find no benchmark and call it a success")
	assert.Contains(t, s.err.String(), "BenchmarkServe/framework=")
	assert.NoDirExists(t, s.results)

	require.Equal(t, 1, s.run("-test.bench=Serve/framework=custom/model=gpt2/task=none"))
	assert.Contains(t, s.err.String(), "no case was run")
	assert.Empty(t, s.servers(), "no case, no server")
}

func TestAllFail(t *testing.T) {
	srv := httptest.NewServer(newFake(status500))
	defer srv.Close()
	s := newBench(t, good, "-task", "chat", "-host", srv.URL)
	require.Equal(t, 1, s.run())
	assert.Contains(t, s.out.String(), "--- FAIL: BenchmarkServe/framework=custom/model=gpt2/task=chat/mode=sync")
	assert.Contains(t, s.out.String(), "status 500: out of memory", "the first error")
	assert.Equal(t, map[string]string{"chat/sync/0": "6/6", "chat/stream/0": "6/6"}, s.rows())
	assert.Empty(t, lines(s.benchTxt()), "no figures of failures")
}

func TestSomeFail(t *testing.T) {
	s := newBench(t, halfFail, "-task", "chat", "-mode", "stream")
	require.Zero(t, s.run(), "%s%s", &s.out, &s.err)
	assert.Contains(t, s.out.String(), "3.000 failed-req")
	assert.Contains(t, s.out.String(), "3 of 6 requests failed")
	assert.Equal(t, map[string]string{"chat/stream/0": "3/6"}, s.rows())
}

func TestServerDoesNotStart(t *testing.T) {
	s := newBench(t, noStart, "-task", "chat")
	require.Equal(t, 1, s.run())
	assert.Contains(t, s.out.String(), "exit status 3")
	assert.Equal(t, 1, strings.Count(s.out.String(), "fatal: no weights"), "the log's last lines, once: %s", &s.out)
	assert.Contains(t, s.out.String(), "not measured either: start")
	assert.Empty(t, s.rows())
}

// TestServerDies kills the server in the middle of the second case.
func TestServerDies(t *testing.T) {
	s := newBench(t, dies, "-task", "chat,qa", "-mode", "sync", "-test.benchtime=6x")
	require.Equal(t, 1, s.run())
	rows := s.rows()
	assert.Equal(t, "0/6", rows["chat/sync/0"], "the case before is on the disk")
	assert.Contains(t, s.out.String(), "fatal: out of memory", "the log's last lines")
	assert.Contains(t, s.out.String(), "--- FAIL: BenchmarkServe/framework=custom/model=gpt2/task=qa")
	assert.Contains(t, s.out.String(), "the server died")
}

// TestServerDeaf has a server that ends listening in the middle of the second
// case, which asks for more requests than anybody would wait for.
func TestServerDeaf(t *testing.T) {
	s := newBench(t, deaf, "-task", "chat,qa", "-mode", "sync", "-test.benchtime=6x")
	require.Equal(t, 1, s.run())
	assert.Equal(t, "0/6", s.rows()["chat/sync/0"])
	assert.Equal(t, "2/4", s.rows()["qa/sync/0"], "what failed, without those that nobody would have taken: %s", &s.out)
	assert.Contains(t, s.out.String(), "the server died")
}

// TestInterrupted ends the suite in the middle of a case, in every way, and
// then goes on.
func TestInterrupted(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			s := newBench(t, stallsLater, "-task", "chat,qa", "-mode", "stream", "-repeat", "2")
			s.start()
			for len(s.rows()) < 3 { // the third pass is the first of the second case
				time.Sleep(20 * time.Millisecond)
			}
			require.Len(t, s.servers(), 1)
			require.True(t, alive(s.servers()[0]))
			require.NoError(t, s.cmd.Process.Signal(sig))
			code := s.wait()
			if sig != syscall.SIGKILL {
				assert.Equal(t, 128+int(sig), code)
				assert.Contains(t, s.err.String(), "task=qa/mode=stream/parallel=1, pass 2 of 2", "what is left")
			}
			before := s.rows()
			assert.Len(t, before, 3)
			run, err := filepath.EvalSymlinks(filepath.Join(s.results, "latest"))
			require.NoError(t, err)

			s.behave(good)
			require.Zero(t, s.run(), "%s%s", &s.out, &s.err)
			again, err := filepath.EvalSymlinks(filepath.Join(s.results, "latest"))
			require.NoError(t, err)
			assert.Equal(t, run, again, "it goes on with the same run")
			assert.Len(t, s.rows(), 4)
			for row, failed := range s.rows() {
				assert.Equal(t, "0/6", failed, row)
			}
			want := map[string]int{
				"BenchmarkServe/framework=custom/model=gpt2/task=chat/mode=stream/parallel=1": 2,
				"BenchmarkServe/framework=custom/model=gpt2/task=qa/mode=stream/parallel=1":   2,
			}
			assert.Equal(t, want, lines(s.out.String()), "what was done before is printed too")
			assert.Equal(t, want, lines(s.benchTxt()))
		})
	}
}

// TestNoTime has go test's -timeout pass before the first case.
func TestNoTime(t *testing.T) {
	s := newBench(t, good, "-task", "chat", "-mode", "sync")
	require.Equal(t, exitUnfinished, s.run("-test.timeout=300ms", "-concurrency", "1,2,3"), "%s%s", &s.out, &s.err)
	assert.Contains(t, s.err.String(), "left to do")
	assert.Contains(t, s.err.String(), "task=chat/mode=sync/parallel=3")
	assert.Empty(t, s.rows())
}

func TestClock(t *testing.T) {
	none := newClock(time.Now(), 0)
	none.took(time.Hour)
	assert.NoError(t, none.fits(), "no -timeout, no end")

	c := newClock(time.Now(), time.Hour)
	assert.NoError(t, c.fits())
	c.took(time.Minute)
	assert.NoError(t, c.fits())
	c.took(2 * time.Hour)
	assert.ErrorIs(t, c.fits(), errNoTime, "the longest decides")
	c.took(time.Minute)
	assert.ErrorIs(t, c.fits(), errNoTime)

	past := newClock(time.Now().Add(-2*time.Hour), time.Hour)
	assert.ErrorIs(t, past.fits(), errNoTime)
	ctx, cancel := past.bound(t.Context())
	defer cancel()
	<-ctx.Done()
}
