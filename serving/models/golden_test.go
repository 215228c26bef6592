package models_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/cpu"
	"servebench/kernels/cuda"
	"servebench/kernels/ref"
	"servebench/serving/models"
	"servebench/serving/weights"
	"servebench/testdata"
)

// golden is a testdata/models/*/golden.json, made by testdata/make_models.py.
type golden struct {
	SHA256 string       `json:"sha256"`
	Runs   []*goldenRun `json:"runs"`
}

// goldenRun is a prompt and what Transformers' greedy decoding adds to it.
type goldenRun struct {
	Prompt []int32 `json:"prompt"`
	Output []int32 `json:"output"`
	Logits string  `json:"logits"`
	// BFloat16 is, by row, the largest standard deviation of a logit under
	// random errors of bfloat16's size in everything that a device rounds to it.
	BFloat16 []float64 `json:"bfloat16"`

	ids  []int32   // [rows] prompt and output
	want []float32 // [rows, V] logits in float32
}

// tinyModels lists the models that there are logits of.
func tinyModels(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(testdata.Path("models", "*", "golden.json"))
	require.NoError(t, err)
	require.NotEmpty(t, found)
	for i := range found {
		found[i] = filepath.Base(filepath.Dir(found[i]))
	}
	return found
}

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
	require.NotEmpty(t, g.Runs)
	for _, r := range g.Runs {
		b, err := base64.StdEncoding.DecodeString(r.Logits)
		require.NoError(t, err)
		r.want = make([]float32, len(b)/4)
		_, err = binary.Decode(b, binary.LittleEndian, r.want)
		require.NoError(t, err)
		r.ids = slices.Concat(r.Prompt, r.Output)
		require.Len(t, r.BFloat16, len(r.ids))
		require.Zero(t, len(r.want)%len(r.ids))
	}
	return g
}

// device is one way to run a model. Where it varies, a row's last bits depend on
// how many rows a step has.
type device struct {
	name   string
	open   func(t *testing.T) kernels.Device
	varies bool
}

// devices lists ref, CUDA, whose tests skip where its library was not built, and
// every instruction set that this machine's CPU runs.
func devices(dtype kernels.DType) []device {
	all := []device{{name: "ref", open: func(*testing.T) kernels.Device { return ref.New(dtype) }}}
	all = append(all, device{name: "cuda", varies: true, open: func(t *testing.T) kernels.Device {
		d, err := cuda.New(cuda.Options{Library: testdata.FastCUDA(t), DType: dtype, MaxTokens: labRows, MaxSeqs: labRows, MaxBlocks: labBlocks})
		require.NoError(t, err)
		return d
	}})
	if dtype == kernels.F16 {
		return all
	}
	for _, isa := range cpu.ISAs() {
		all = append(all, device{name: "cpu " + isa, open: func(t *testing.T) kernels.Device {
			d, err := cpu.New(cpu.Options{DType: dtype, ISA: isa, Threads: 2})
			require.NoError(t, err)
			return d
		}})
	}
	return all
}

// tiny opens the checkpoint of a tiny model.
func tiny(t *testing.T, model string) weights.Checkpoint {
	t.Helper()
	ck, err := weights.Open(context.Background(), testdata.Path("models", model), weights.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, ck.Close()) })
	return ck
}

// The sizes of a lab.
const (
	blockSize = 4
	labBlocks = 120
	labRows   = 120
)

// lab runs steps on a model and deals out its cache blocks, the one freed last first.
type lab struct {
	t      *testing.T
	m      *models.Model
	free   []int32
	window int // above 0: blocks that lie before every row's window are freed
	held   int // most blocks that all sequences had together
}

// sequence is a sequence on a lab's model.
type sequence struct {
	ids    []int32
	blocks []int32 // kernels.Freed where passed
	done   int     // tokens in the cache
}

func newLab(t *testing.T, dev kernels.Device, ck weights.Checkpoint) *lab {
	t.Helper()
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	l := &lab{t: t}
	var err error
	l.m, err = models.Open(dev, ck, models.Limits{MaxTokens: labRows, MaxSeqs: labRows, Blocks: labBlocks, BlockSize: blockSize})
	require.NoError(t, err)
	for i := range int32(labBlocks) {
		l.free = append(l.free, i*7%labBlocks) // so that no sequence has its blocks in a row
	}
	return l
}

// part is the next tokens of a sequence in a step.
type part struct {
	*sequence
	n int
}

// step computes the parts together and returns the logits of each one's rows.
func (l *lab) step(parts ...part) [][]float32 {
	l.t.Helper()
	s := &kernels.Step{Starts: []int32{0}, Window: l.window}
	for _, p := range parts {
		for len(p.blocks)*blockSize < p.done+p.n {
			last := len(l.free) - 1
			p.blocks, l.free = append(p.blocks, l.free[last]), l.free[:last]
		}
		s.MaxBlocks = max(s.MaxBlocks, len(p.blocks))
	}
	l.held = max(l.held, l.m.KVShape().Blocks-len(l.free))
	for _, p := range parts {
		for pos := p.done; pos < p.done+p.n; pos++ {
			s.Out = append(s.Out, int32(len(s.Tokens)))
			s.Tokens = append(s.Tokens, p.ids[pos])
			s.Positions = append(s.Positions, int32(pos))
			s.Slots = append(s.Slots, p.blocks[pos/blockSize]*blockSize+int32(pos%blockSize))
		}
		p.done += p.n
		s.Starts = append(s.Starts, int32(len(s.Tokens)))
		s.Lens = append(s.Lens, int32(p.done))
		row := make([]int32, s.MaxBlocks)
		copy(row, p.blocks)
		s.Blocks = append(s.Blocks, row...)
	}
	logits, err := l.m.Forward(s)
	require.NoError(l.t, err)
	logits = slices.Clone(logits)
	byPart := make([][]float32, len(parts))
	for i, p := range parts {
		if l.window > 0 {
			l.pass(p.sequence)
		}
		byPart[i] = logits[int(s.Starts[i])*l.m.VocabSize() : int(s.Starts[i+1])*l.m.VocabSize()]
	}
	return byPart
}

// pass frees the blocks that lie before the window of a sequence's next token.
func (l *lab) pass(s *sequence) {
	for i := 0; (i+1)*blockSize <= s.done-l.window+1; i++ {
		if s.blocks[i] >= 0 {
			l.free = append(l.free, s.blocks[i])
			s.blocks[i] = kernels.Freed
		}
	}
}

// finish computes what a sequence lacks in chunks of the given sizes, the last
// one repeated, and returns the logits of those rows.
func (l *lab) finish(s *sequence, chunks ...int) []float32 {
	l.t.Helper()
	var all []float32
	for s.done < len(s.ids) {
		n := min(chunks[0], len(s.ids)-s.done)
		if len(chunks) > 1 {
			chunks = chunks[1:]
		}
		all = append(all, l.step(part{s, n})[0]...)
	}
	return all
}

// release gives a sequence's blocks back; what is in them is lost.
func (l *lab) release(s *sequence) {
	for _, b := range slices.Backward(s.blocks) {
		if b >= 0 {
			l.free = append(l.free, b)
		}
	}
	s.blocks, s.done = nil, 0
}
