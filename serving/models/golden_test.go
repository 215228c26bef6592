package models_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cpu"
	"servebench/kernels/ref"
	"servebench/serving/models"
	"servebench/serving/weights"
	"servebench/testdata"
)

// golden is a testdata/models/*/golden.json, made by testdata/make_models.py.
type golden struct {
	SHA256 string `json:"sha256"`
	Runs   []struct {
		Prompt []int32 `json:"prompt"`
		Output []int32 `json:"output"`
		Logits string  `json:"logits"`
		want   []float32
	} `json:"runs"`
}

var tiny = []string{"tiny-gpt2", "tiny-llama", "tiny-llama-tied", "tiny-gpt2-options", "tiny-phi", "tiny-mistral", "tiny-qwen2", "tiny-qwen2-window", "tiny-llama-bias", "tiny-llama-linear", "tiny-llama-llama3", "tiny-llama-yarn"}

func readGolden(t *testing.T, model string) golden {
	t.Helper()
	weights, err := os.ReadFile(testdata.Path("models", model, "model.safetensors"))
	require.NoError(t, err)
	raw, err := os.ReadFile(testdata.Path("models", model, "golden.json"))
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(raw, &g))
	sum := sha256.Sum256(weights)
	require.Equal(t, g.SHA256, hex.EncodeToString(sum[:]), "golden.json is of another checkpoint: make it again")
	for i := range g.Runs {
		r := &g.Runs[i]
		b, err := base64.StdEncoding.DecodeString(r.Logits)
		require.NoError(t, err)
		r.want = make([]float32, len(b)/4)
		_, err = binary.Decode(b, binary.LittleEndian, r.want)
		require.NoError(t, err)
	}
	return g
}

// device is one way to run a model.
type device struct {
	name string
	open func(t *testing.T) kernels.Device
}

// devices lists ref and every instruction set that this machine's CPU runs.
func devices(dtype kernels.DType) []device {
	all := []device{{"ref", func(*testing.T) kernels.Device { return ref.New(dtype) }}}
	for _, isa := range cpu.ISAs() {
		all = append(all, device{"cpu-" + isa, func(t *testing.T) kernels.Device {
			d, err := cpu.New(cpu.Options{DType: dtype, ISA: isa, Threads: 2})
			require.NoError(t, err)
			return d
		}})
	}
	return all
}

// open loads a tiny model with room for three sequences of its full length.
func open(t *testing.T, dev kernels.Device, model string, steps int) *models.Model {
	t.Helper()
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	ck, err := weights.Open(context.Background(), testdata.Path("models", model), weights.Options{})
	require.NoError(t, err)
	defer ck.Close()
	m, err := models.Open(dev, ck, models.Limits{MaxTokens: steps, MaxSeqs: steps, Blocks: 120, BlockSize: 4})
	require.NoError(t, err)
	return m
}

// feed appends tokens of sequence seq, of which done are cached, to a step,
// and asks for the logits of every one. Sequences own interleaved blocks, so
// that none is contiguous.
func feed(s *kernels.Step, seq, done int, tokens []int32) {
	const blockSize, sequences, stride = 4, 3, 40
	if len(s.Starts) == 0 {
		s.Starts, s.MaxBlocks = []int32{0}, stride
	}
	block := func(i int) int32 { return int32(i*sequences + seq) }
	for i, id := range tokens {
		p := done + i
		s.Out = append(s.Out, int32(len(s.Tokens)))
		s.Tokens = append(s.Tokens, id)
		s.Positions = append(s.Positions, int32(p))
		s.Slots = append(s.Slots, block(p/blockSize)*blockSize+int32(p%blockSize))
	}
	row := make([]int32, stride)
	for i := range row {
		row[i] = block(i)
	}
	s.Starts = append(s.Starts, int32(len(s.Tokens)))
	s.Lens = append(s.Lens, int32(done+len(tokens)))
	s.Blocks = append(s.Blocks, row...)
}

// alone computes the logits of all of ids in chunks of the given sizes, the
// last one repeated.
func alone(t *testing.T, m *models.Model, seq int, ids []int32, chunks ...int) []float32 {
	t.Helper()
	all := make([]float32, 0, len(ids)*m.VocabSize())
	for done := 0; done < len(ids); {
		n := min(chunks[0], len(ids)-done)
		if len(chunks) > 1 {
			chunks = chunks[1:]
		}
		s := &kernels.Step{}
		feed(s, seq, done, ids[done:done+n])
		logits := make([]float32, n*m.VocabSize())
		require.NoError(t, m.Forward(s, logits))
		all = append(all, logits...)
		done += n
	}
	return all
}

// largest returns the largest difference, NaN if there is one.
func largest(t *testing.T, got, want []float32) float64 {
	t.Helper()
	require.Equal(t, len(want), len(got))
	worst := 0.0
	for i := range got {
		worst = max(worst, math.Abs(float64(got[i])-float64(want[i])))
	}
	return worst
}

// float32Bound is the largest difference from Transformers' float32 logits
// that is allowed in float32, absolute: these logits are sums of at most 76
// products of size 1 to 10, which float32 rounds by some 1e-6 each.
const float32Bound = 1e-4

func TestLogitsEqualTransformers(t *testing.T) {
	for _, model := range tiny {
		g := readGolden(t, model)
		for _, dev := range devices(kernels.F32) {
			t.Run(model+"/"+dev.name, func(t *testing.T) {
				m := open(t, dev.open(t), model, 120)
				worst := 0.0
				for _, r := range g.Runs {
					ids := slices.Concat(r.Prompt, r.Output)
					// The prompt whole and the output a token a step; then in chunks.
					worst = max(worst, largest(t, alone(t, m, 0, ids, len(r.Prompt), 1), r.want))
					worst = max(worst, largest(t, alone(t, m, 1, ids, 7), r.want))
				}
				t.Logf("largest error %.2g: %.1f%% of the allowed %.0e", worst, 100*worst/float32Bound, float32Bound)
				require.True(t, worst <= float32Bound, "and not NaN")
			})
		}
	}
}

// TestRowsDoNotDependOnTheBatch checks that logits are the same bits for a
// sequence alone, in chunks, and among others that prefill and decode beside it.
func TestRowsDoNotDependOnTheBatch(t *testing.T) {
	for _, dtype := range []kernels.DType{kernels.F32, kernels.BF16} {
		for _, model := range tiny {
			g := readGolden(t, model)
			for _, dev := range devices(dtype) {
				t.Run(fmt.Sprintf("%s/%s/%s", dtype, model, dev.name), func(t *testing.T) {
					m := open(t, dev.open(t), model, 120)
					V := m.VocabSize()
					var want [3][]uint32
					var seqs [3][]int32
					for i, r := range g.Runs {
						seqs[i] = slices.Concat(r.Prompt, r.Output)
						want[i] = bits(alone(t, m, i, seqs[i], len(seqs[i])))
						require.Equal(t, want[i], bits(alone(t, m, i, seqs[i], 5, 1, 16)), "in chunks, run %d", i)
					}
					// All three in the same steps, in chunks of different sizes.
					var done [3]int
					chunk := [3]int{1, 3, 11}
					for done[0] < len(seqs[0]) || done[1] < len(seqs[1]) || done[2] < len(seqs[2]) {
						s := &kernels.Step{}
						var order, counts []int
						for q := range seqs {
							n := min(chunk[q], len(seqs[q])-done[q])
							if n == 0 {
								continue
							}
							feed(s, q, done[q], seqs[q][done[q]:done[q]+n])
							order, counts = append(order, q), append(counts, n)
						}
						logits := make([]float32, len(s.Out)*V)
						require.NoError(t, m.Forward(s, logits))
						for i, q := range order {
							n := counts[i] * V
							require.Equal(t, want[q][done[q]*V:done[q]*V+n], bits(logits[:n]), "batched, run %d from token %d", q, done[q])
							logits = logits[n:]
							done[q] += counts[i]
						}
					}
				})
			}
		}
	}
}

func bits(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}
