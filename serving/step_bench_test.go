package serving_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cpu"
	"servebench/serving/api"
	"servebench/serving/engine"
	"servebench/serving/models"
	"servebench/serving/sample"
	"servebench/serving/tokenizer"
	"servebench/serving/weights"
)

// timed is a model that notes when its steps begin and end.
type timed struct {
	*models.Model
	mu    sync.Mutex
	steps []stepTime
	more  chan struct{} // has a value when steps has grown
}

// stepTime is one Forward.
type stepTime struct {
	rows, seqs int
	start, end time.Time
}

func (m *timed) Forward(s *kernels.Step) ([]float32, error) {
	start := time.Now()
	logits, err := m.Model.Forward(s)
	end := time.Now()
	m.mu.Lock()
	m.steps = append(m.steps, stepTime{len(s.Tokens), len(s.Lens), start, end})
	m.mu.Unlock()
	select {
	case m.more <- struct{}{}:
	default:
	}
	return logits, err
}

// taken returns the steps since the last call, and makes room for the next ones.
func (m *timed) taken() []stepTime {
	m.mu.Lock()
	defer m.mu.Unlock()
	steps := m.steps
	m.steps = make([]stepTime, 0, max(1<<12, 2*len(steps)))
	return steps
}

// wait returns once n more steps were computed.
func (m *timed) wait(n int) {
	for {
		m.mu.Lock()
		done := len(m.steps) >= n
		m.mu.Unlock()
		if done {
			return
		}
		<-m.more
	}
}

// benchModel is a model of random weights on the CPU, and its tokenizer.
func benchModel(b *testing.B, name string, l models.Limits) (*timed, *tokenizer.Tokenizer) {
	b.Helper()
	if len(cpu.ISAs()) == 0 {
		b.Skip("SKIPPED, not measured here: the C kernels are unavailable")
	}
	dev, err := cpu.New(cpu.Options{DType: kernels.BF16})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, dev.Close()) })
	wo := weights.Options{LoadFormat: weights.Dummy}
	loc, err := weights.Resolve(b.Context(), name, weights.Everything, wo)
	require.NoError(b, err)
	ck, err := loc.Open(wo)
	require.NoError(b, err)
	defer ck.Close()
	tok, err := tokenizer.OpenFor(loc, wo)
	require.NoError(b, err)
	m, err := models.Open(dev, ck, l)
	require.NoError(b, err)
	return &timed{Model: m, more: make(chan struct{}, 1)}, tok
}

// quantile is the value that the share q of sorted values does not exceed.
func quantile(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(len(sorted)-1, int(q*float64(len(sorted))))])
}

// BenchmarkStep decodes with so many streams on GPT-2's shapes and reports the
// time of the model's Forward and what is between two of them, which is the
// engine's: sampling, emitting, scheduling, and what it takes of the cores to
// hand out the tokens. Readers are goroutines on Stream.Next, or connections of
// another process that reads server-sent events. gc-… is the collector's part
// of all that: its cycles, the longest pause, and the time that goroutines were
// made to help it.
func BenchmarkStep(b *testing.B) {
	m, tok := benchModel(b, "gpt2", models.Limits{MaxTokens: 512, MaxSeqs: 64, Blocks: 64 * 64, BlockSize: 16})
	for _, streams := range []int{1, 4, 16, 64} {
		for _, readers := range []string{"next", "http"} {
			b.Run(fmt.Sprintf("streams=%d/readers=%s", streams, readers), func(b *testing.B) {
				e, err := engine.New(m, engine.Config{PrefixCaching: true})
				require.NoError(b, err)
				ctx, cancel := context.WithCancel(b.Context())
				if readers == "next" {
					readStreams(ctx, b, e, streams)
				} else {
					readEvents(ctx, b, e, m, tok, streams)
				}
				m.taken()
				m.wait(20 + streams)
				m.taken()
				before := collector()
				b.ResetTimer()
				m.wait(b.N)
				b.StopTimer()
				steps, gc := m.taken(), collector().since(before)
				cancel()
				require.NoError(b, e.Close(context.Background()))
				report(b, steps, streams)
				n := float64(len(steps))
				b.ReportMetric(gc.cycles/n*1000, "gc-cycles/1000steps")
				b.ReportMetric(gc.assist*1e9/n, "gc-assist-ns/step")
				b.ReportMetric(gc.pause*1e9, "gc-max-pause-ns")
			})
		}
	}
}

// report tells of the steps that only decode, for all streams.
func report(b *testing.B, steps []stepTime, streams int) {
	var forward, between []time.Duration
	for i, s := range steps {
		if s.rows != streams || s.seqs != streams {
			continue
		}
		forward = append(forward, s.end.Sub(s.start))
		if i > 0 && steps[i-1].seqs == streams {
			between = append(between, s.start.Sub(steps[i-1].end))
		}
	}
	slices.Sort(forward)
	slices.Sort(between)
	b.ReportMetric(quantile(forward, 0.5), "p50-forward-ns")
	b.ReportMetric(quantile(forward, 0.1), "p10-forward-ns")
	b.ReportMetric(quantile(between, 0.5), "p50-between-ns")
	b.ReportMetric(quantile(between, 0.1), "p10-between-ns")
	b.ReportMetric(quantile(between, 0.99), "p99-between-ns")
}

// readStreams keeps so many requests running and reads their tokens.
func readStreams(ctx context.Context, b *testing.B, e *engine.Engine, streams int) {
	for i := range streams {
		r := engine.Request{Prompt: make([]int32, 21), MaxTokens: 900 - i, Sampling: sample.Params{TopP: 1}}
		for j := range r.Prompt {
			r.Prompt[j] = int32(700*i + j) // below the vocabulary for 64 of them
		}
		go func() {
			for ctx.Err() == nil {
				s, err := e.Submit(ctx, r)
				if err != nil {
					return
				}
				for err == nil {
					_, err = s.Next(ctx)
				}
			}
		}()
	}
}

// readEvents does the same over HTTP, with the reader in a process of its own.
func readEvents(ctx context.Context, b *testing.B, e *engine.Engine, m *timed, tok *tokenizer.Tokenizer, streams int) {
	s, err := api.New(api.Config{Engine: api.UseEngine(e), Tokenizer: api.UseTokenizer(tok), Models: []string{"gpt2"},
		Vocab: m.VocabSize(), MaxModelLen: e.MaxModelLen(), MaxLogprobs: e.MaxLogprobs(), Defaults: api.Defaults{TopP: 1}})
	require.NoError(b, err)
	srv := httptest.NewServer(s)
	self, err := os.Executable()
	require.NoError(b, err)
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d", readerEnv, srv.Listener.Addr(), streams), "GOMAXPROCS=1")
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	require.NoError(b, cmd.Start())
	go func() {
		<-ctx.Done()
		_ = cmd.Wait()
		srv.CloseClientConnections()
		srv.Close()
	}()
}

// readerEnv makes a test binary the reader process: address and connections.
const readerEnv = "SERVEBENCH_READER"

// TestMain is also where the reader process begins.
func TestMain(m *testing.M) {
	var addr string
	var streams int
	if n, _ := fmt.Sscan(os.Getenv(readerEnv), &addr, &streams); n == 2 {
		readAnswers(addr, streams)
		return
	}
	os.Exit(m.Run())
}

// readAnswers is the client of readEvents: it reads answers as cheaply as can
// be, until it is killed.
func readAnswers(addr string, streams int) {
	var all sync.WaitGroup
	for i := range streams {
		body := fmt.Sprintf(`{"model":"gpt2","prompt":[%d,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21],"stream":true,"temperature":0,"ignore_eos":true,"max_tokens":%d}`,
			700*i, 900-i)
		request := fmt.Sprintf("POST /v1/completions HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, len(body), body)
		all.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				return
			}
			defer conn.Close()
			buf := make([]byte, 1<<16)
			for {
				if _, err := io.Copy(conn, strings.NewReader(request)); err != nil {
					return
				}
				for {
					n, err := conn.Read(buf)
					if err != nil {
						return
					}
					if bytes.Contains(buf[:n], []byte("[DONE]")) {
						break
					}
				}
			}
		})
	}
	all.Wait()
}

// gcWork is the garbage collector's since the process began.
type gcWork struct {
	cycles, assist, pause float64 // number, CPU seconds, seconds of the longest
	pauses                []uint64
}

func collector() gcWork {
	s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}, {Name: "/cpu/classes/gc/mark/assist:cpu-seconds"},
		{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	h := s[2].Value.Float64Histogram()
	return gcWork{cycles: float64(s[0].Value.Uint64()), assist: s[1].Value.Float64(), pauses: slices.Clone(h.Counts)}
}

// since is what was added to before. The pause is its bucket's upper end.
func (g gcWork) since(before gcWork) gcWork {
	s := []metrics.Sample{{Name: "/sched/pauses/total/gc:seconds"}}
	metrics.Read(s)
	h := s[0].Value.Float64Histogram()
	d := gcWork{cycles: g.cycles - before.cycles, assist: g.assist - before.assist}
	for i := range g.pauses {
		if g.pauses[i] > before.pauses[i] {
			d.pause = h.Buckets[i+1]
		}
	}
	return d
}
