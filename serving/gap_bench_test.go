package serving_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
	"servebench/serving/models"
	"servebench/serving/sample"
)

// The long prompts of BenchmarkGap, and the streams that wait for them.
const (
	gapPrompt  = 2000
	gapStreams = 4
)

// BenchmarkGap decodes with four streams on SmolLM2's shapes while one prompt of
// 2000 tokens after the other is read, and reports the gaps between the tokens of
// the four, and how fast the prompts are read. prefill=0 has no prompts; otherwise
// it is the rows of a prompt that a step may have (--long-prefill-token-threshold).
// Every stream has a row in every step, so that a gap is a step's time and no gap
// is longer than a step of prefill and --max-num-seqs rows takes.
func BenchmarkGap(b *testing.B) {
	m, _ := benchModel(b, "smollm2-135m-instruct", models.Limits{MaxTokens: 2048, MaxSeqs: 8, Blocks: 8 * 512, BlockSize: 16})
	for _, prefill := range []int{0, 2048, 512, 256, 128, 64, 32} {
		b.Run(fmt.Sprintf("prefill=%d", prefill), func(b *testing.B) {
			e, err := engine.New(m, engine.Config{MaxPrefill: prefill})
			require.NoError(b, err)
			ctx, cancel := context.WithCancel(b.Context())
			readStreams(ctx, b, e, gapStreams)
			m.wait(2 * gapStreams)
			var prompts atomic.Int64
			if prefill > 0 {
				go readPrompts(ctx, e, &prompts)
			}
			m.taken()
			m.wait(4)
			m.taken()
			b.ResetTimer()
			start, read := time.Now(), prompts.Load()
			m.wait(b.N)
			b.StopTimer()
			elapsed := time.Since(start)
			read = prompts.Load() - read
			steps := m.taken()
			cancel()
			require.NoError(b, e.Close(context.Background()))

			var gaps []time.Duration
			rows := 0
			for i := 1; i < len(steps); i++ {
				gaps = append(gaps, steps[i].end.Sub(steps[i-1].end))
				rows += steps[i].rows - min(steps[i].seqs, gapStreams)
			}
			slices.Sort(gaps)
			b.ReportMetric(quantile(gaps, 0.5), "p50-itl-ns")
			b.ReportMetric(quantile(gaps, 0.99), "p99-itl-ns")
			b.ReportMetric(float64(len(steps)*gapStreams)/elapsed.Seconds(), "out-tok/s")
			if prefill > 0 {
				b.ReportMetric(float64(rows)/elapsed.Seconds(), "prefill-tok/s")
				b.ReportMetric(float64(read), "prompts")
			}
		})
	}
}

// readPrompts has one long prompt after the other computed.
func readPrompts(ctx context.Context, e *engine.Engine, done *atomic.Int64) {
	for n := int32(0); ctx.Err() == nil; n++ {
		r := engine.Request{Prompt: make([]int32, gapPrompt), MaxTokens: 1, Sampling: sample.Params{TopP: 1}}
		for i := range r.Prompt {
			r.Prompt[i] = (n*131 + int32(i)*7919) % 40000
		}
		s, err := e.Submit(ctx, r)
		if err != nil {
			return
		}
		if _, err := s.Next(ctx); err == nil {
			done.Add(1)
		}
	}
}
