package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/serving/models"
	"servebench/serving/weights"
)

// realSizesEnv lists, with commas, the models that BenchmarkRealSizes runs.
// They take up to 16 GB of memory, so that no other run should meet them.
const realSizesEnv = "SERVEBENCH_REAL_SIZES"

// BenchmarkRealSizes starts the server for one model of real size after the
// other, with dummy weights in bfloat16, and streams 32 tokens from it over HTTP
// to 1 and to 4 clients at once (make real-sizes). Reported are
//
//	gen-tok/s  output tokens a second of one stream, after its first
//	out-tok/s  the same of all streams
//	GB/s       bytes of weights that a step reads · steps a second, where a
//	           step gives every stream a token
//	load-s     from the server's start until it was ready
//	peak-B     its peak memory by then
//
// What bounds GB/s is what BenchmarkMatrices of kernels/cpu reaches. A model
// that the machine has no memory for is skipped, with the server's reason.
func BenchmarkRealSizes(b *testing.B) {
	list := os.Getenv(realSizesEnv)
	if list == "" {
		b.Skipf("SKIPPED, not measured here: %s names the models (make real-sizes)", realSizesEnv)
	}
	bin := filepath.Join(b.TempDir(), "serve")
	out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	require.NoErrorf(b, err, "%s", out)
	for model := range strings.SplitSeq(list, ",") {
		b.Run("model="+model, func(b *testing.B) {
			bytes := readPerStep(b, model)
			p := startReal(b, bin, model)
			for _, streams := range []int{1, 4} {
				b.Run(fmt.Sprintf("streams=%d/dtype=bfloat16", streams), func(b *testing.B) { p.measure(b, streams, bytes) })
			}
		})
	}
}

// readPerStep is the bytes of weights that a step of a few rows reads: all but
// the embedding, of which it reads a row a token, unless that is the head too.
func readPerStep(b *testing.B, model string) int64 {
	ck, err := weights.Open(b.Context(), model, weights.Options{LoadFormat: weights.Dummy})
	require.NoError(b, err)
	defer ck.Close()
	spec, err := models.Describe(ck)
	require.NoError(b, err)
	n, err := measure(ck, kernels.BF16, models.Limits{MaxTokens: 1, MaxSeqs: 1, BlockSize: 1, MaxModelLen: 1}, hostLayout{})
	require.NoError(b, err)
	var config struct {
		Tied bool `json:"tie_word_embeddings"`
	}
	require.NoError(b, json.Unmarshal(ck.Config(), &config))
	if config.Tied {
		return n.weights
	}
	return n.weights - int64(spec.Vocab)*int64(spec.Width)*int64(kernels.BF16.Size())
}

// realServer is a server in a process of its own.
type realServer struct {
	url  string
	load time.Duration
	peak float64 // bytes
}

var peakLine = regexp.MustCompile(`peak memory ([0-9.]+) (MiB|GiB)`)

// startReal starts the server and waits until it is ready; it is ended with b.
// Where it refuses, for want of memory, b is skipped.
func startReal(b *testing.B, bin, model string) *realServer {
	b.Helper()
	cmd := exec.Command(bin, "--model", model, "--load-format", "dummy", "--dtype", "bfloat16", "--port", "0",
		"--max-model-len", "2048", "--max-num-seqs", "4")
	stderr, err := cmd.StderrPipe()
	require.NoError(b, err)
	start := time.Now()
	require.NoError(b, cmd.Start())
	s := &realServer{}
	lines := bufio.NewScanner(stderr)
	var said strings.Builder
	for s.url == "" && lines.Scan() {
		line := lines.Text()
		fmt.Fprintln(&said, line)
		if m := peakLine.FindStringSubmatch(line); m != nil {
			s.peak, err = strconv.ParseFloat(m[1], 64)
			require.NoError(b, err)
			s.peak *= map[string]float64{"MiB": 1 << 20, "GiB": 1 << 30}[m[2]]
		}
		if _, after, ok := strings.Cut(line, "ready on "); ok {
			s.url, s.load = after[:strings.IndexByte(after, ',')], time.Since(start)
		}
	}
	if s.url == "" {
		err := cmd.Wait()
		if exit := (*exec.ExitError)(nil); errors.As(err, &exit) && exit.ExitCode() == exitUsage && strings.Contains(said.String(), "memory") {
			b.Skipf("SKIPPED, not measured here:\n%s", said.String())
		}
		b.Fatalf("%s did not start: %v\n%s", model, err, said.String())
	}
	b.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		_ = cmd.Process.Signal(os.Interrupt)
		_, _ = io.Copy(io.Discard, stderr)
		require.NoError(b, cmd.Wait())
	})
	b.Logf("%s", said.String())
	return s
}

// measure runs rounds of so many streams at once.
func (s *realServer) measure(b *testing.B, streams int, bytes int64) {
	s.stream(b, 0) // memory that is touched for the first time is touched here
	var rate, all float64
	for b.Loop() {
		rates := make([]float64, streams)
		var wg sync.WaitGroup
		for i := range streams {
			wg.Go(func() { rates[i] = s.stream(b, i) })
		}
		wg.Wait()
		slowest := math.Inf(1)
		for _, r := range rates {
			rate += r / float64(streams)
			all += r
			slowest = min(slowest, r)
		}
		require.Positive(b, slowest)
	}
	n := float64(b.N)
	b.ReportMetric(rate/n, "gen-tok/s")
	b.ReportMetric(all/n, "out-tok/s")
	b.ReportMetric(rate/n*float64(bytes)/1e9, "GB/s")
	b.ReportMetric(s.load.Seconds(), "load-s")
	b.ReportMetric(s.peak, "peak-B")
}

// stream asks for 32 tokens and returns how many came a second after the first.
func (s *realServer) stream(b *testing.B, i int) float64 {
	const tokens = 32
	body := fmt.Sprintf(`{"prompt":"Stream %d: once upon a time","max_tokens":%d,"ignore_eos":true,"temperature":0,"stream":true,
		"stream_options":{"include_usage":true,"continuous_usage_stats":true}}`, i, tokens)
	resp, err := http.Post(s.url+"/v1/completions", "application/json", strings.NewReader(body))
	if err != nil {
		b.Error(err)
		return 0
	}
	defer resp.Body.Close()
	var first, last time.Time
	from, to := 0, 0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		now := time.Now()
		var event struct {
			Usage struct {
				Tokens int `json:"completion_tokens"`
			} `json:"usage"`
		}
		data, ok := strings.CutPrefix(lines.Text(), "data: {")
		if !ok || json.Unmarshal([]byte("{"+data), &event) != nil || event.Usage.Tokens <= to {
			continue // a blank line, the end, or an event that brings no token
		}
		last, to = now, event.Usage.Tokens
		if from == 0 {
			first, from = last, to
		}
	}
	if to != tokens {
		b.Errorf("status %s, %d tokens instead of %d", resp.Status, to, tokens)
		return 0
	}
	return float64(to-from) / last.Sub(first).Seconds()
}
