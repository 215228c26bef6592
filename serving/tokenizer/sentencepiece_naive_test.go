package tokenizer

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// naive encodes by the definition: of all neighbours in the whole text, the best
// are joined, again and again. It knows no cuts, no tables and no windows.
type naive struct {
	vocabulary *vocabulary
	ids        map[string]int32
	ranks      map[[2]string]int // of a tokenizer.json
}

func newNaive(v *vocabulary) *naive {
	n := &naive{vocabulary: v, ids: map[string]int32{}, ranks: map[[2]string]int{}}
	for i, s := range v.tokens {
		if v.scores == nil || v.kinds[i] == pieceNormal {
			n.ids[s] = int32(i)
		}
	}
	for rank, m := range v.merges {
		n.ranks[m] = rank
	}
	return n
}

// worth returns how early two neighbours are joined, higher is earlier.
func (n *naive) worth(left, right string) (float64, bool) {
	if n.vocabulary.scores == nil {
		rank, ok := n.ranks[[2]string{left, right}]
		return -float64(rank), ok
	}
	id, ok := n.ids[left+right]
	if !ok {
		return 0, false
	}
	return n.vocabulary.scores[id], true
}

// encode takes text with its prefix, and needs byte fallback.
func (n *naive) encode(text string) (ids []int32) {
	symbols := strings.Split(strings.ReplaceAll(text, " ", meta), "")
	for {
		best, at := math.Inf(-1), -1
		for i := 0; i+1 < len(symbols); i++ {
			if worth, ok := n.worth(symbols[i], symbols[i+1]); ok && worth > best {
				best, at = worth, i
			}
		}
		if at < 0 {
			break
		}
		symbols[at] += symbols[at+1]
		symbols = slices.Delete(symbols, at+1, at+2)
	}
	for _, s := range symbols {
		if id, ok := n.ids[s]; ok {
			ids = append(ids, id)
			continue
		}
		for i := range len(s) {
			ids = append(ids, int32(slices.Index(n.vocabulary.tokens, fmt.Sprintf("<0x%02X>", s[i]))))
		}
	}
	return ids
}

// naivePairs are vocabularies and the naive encoders of them.
func naivePairs(t testing.TB) (pairs []struct {
	name  string
	tok   *Tokenizer
	naive *naive
}) {
	t.Helper()
	g := readPieceGolden(t)
	add := func(name string, v *vocabulary, err error) {
		require.NoError(t, err)
		n := newNaive(v)
		pairs = append(pairs, struct {
			name  string
			tok   *Tokenizer
			naive *naive
		}{name, madeFrom(t, v, nil), n})
	}
	for _, m := range g.Models {
		if slices.Contains([]string{"plain", "scores in no order", "equal scores", "characters missing"}, m.Name) {
			data, err := base64.StdEncoding.DecodeString(m.Model)
			require.NoError(t, err)
			v, err := parseModel(data)
			add(m.Name, v, err)
		}
	}
	v, err := parseJSON((&pieceVariant{Top: g.Legacy}).json(t))
	add("tokenizer.json", v, err)
	return pairs
}

// pieceAlphabet has frequent letters and their neighbours, for merges, and rare characters, for fallback.
var pieceAlphabet = []string{" ", " ", "  ", "    ", "the", "th", "he", "e", "t", "a", "in", "er", "an", "q", "x", "z", "1", "2", "\n", "é", "中", "文", "😀", "\u200d", meta, "S", "'", ".", "ing", "aaaa"}

// TestNaive holds that cutting a text and merging in windows change nothing.
func TestNaive(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	for _, p := range naivePairs(t) {
		for range 150 {
			var b strings.Builder
			for range 1 + rng.IntN(60) {
				b.WriteString(pieceAlphabet[rng.IntN(len(pieceAlphabet))])
			}
			text := b.String()
			assert.Equal(t, p.naive.encode(" "+text), p.tok.Encode(text, false), "%s: %q", p.name, text)
		}
		long := strings.Repeat("thethein", 150)
		assert.Equal(t, p.naive.encode(" "+long), p.tok.Encode(long, false), "%s: %q", p.name, long)
	}
}

func FuzzPieces(f *testing.F) {
	pairs := naivePairs(f)
	for _, s := range []string{"", " the  theme", "a▁b", "é中文\n\n", "<s>x</s> the", "\xff\xe2\x96"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		text = validText(text)
		if len(text) > 500 {
			return
		}
		for _, p := range pairs {
			ids := p.tok.Encode(text, false)
			if text != "" {
				assert.Equal(t, p.naive.encode(" "+text), ids, "%s: %q", p.name, text)
			}
			if p.name != "characters missing" { // which has tokens of bytes for the space, and they come back as U+2581
				assert.Equal(t, strings.ReplaceAll(text, meta, " "), p.tok.Decode(ids, false), p.name)
			}
			checkPieceStream(t, p.tok, ids)
			checkPieceStream(t, p.tok, p.tok.Encode(text, true))
		}
	})
}

func FuzzParseModel(f *testing.F) {
	g := readPieceGolden(f)
	for _, m := range g.Models[:5] {
		data, err := base64.StdEncoding.DecodeString(m.Model)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		v, err := parseModel(data)
		if err != nil {
			return
		}
		tok, err := v.tokenizer()
		if err != nil {
			return
		}
		ids := tok.EncodePrompt("the <s> c  \n12\xff▁▁")
		for _, id := range ids {
			if int(id) >= tok.Size() || id < 0 {
				t.Fatalf("id %d in a vocabulary of %d", id, tok.Size())
			}
		}
		checkPieceStream(t, tok, ids)
	})
}

// FuzzDecodePieces has runs of byte tokens that are no UTF-8.
func FuzzDecodePieces(f *testing.F) {
	v, err := parseModel(smallPieces(f, "tokenizer.model"))
	tok := madeFrom(f, v, err)
	f.Add([]byte("\x01\x00\xe2\x00\x96\x00\x81\x00\xff\x04\x05"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var ids []int32
		for ; len(data) > 1; data = data[2:] {
			ids = append(ids, int32(binary.LittleEndian.Uint16(data))%1300-10)
		}
		checkPieceStream(t, tok, ids)
	})
}

// BenchmarkEncodePieces reports MB/s of text on one core, with Llama 2's vocabulary.
func BenchmarkEncodePieces(b *testing.B) {
	tok := opened(b, testdata.Shared(b, "tokenizers", "llama-spm.gguf"))
	for _, c := range []struct{ name, text string }{
		{"text=articles", benchText(b, "cnn_dailymail/3.0.0_validation.jsonl")},
		{"text=code", benchText(b, "openai_humaneval/HumanEval.jsonl")},
		{"text=oneword/size=100KB", strings.Repeat("supercalifragilistic", 5_000)},
		{"text=oneword/size=7MB", strings.Repeat("supercalifragilistic", 350_000)},
		{"text=chinese/size=7MB", strings.Repeat("机器学习是人工智能的一个分支，它研究算法。", 110_000)},
		{"text=onecharacter/size=7MB", strings.Repeat("a", 7_000_000)},
		{"text=spaces/size=7MB", strings.Repeat(" ", 7_000_000)},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.SetBytes(int64(len(c.text)))
			b.ReportAllocs()
			for b.Loop() {
				tok.Encode(c.text, true)
			}
		})
	}
}

// BenchmarkOpenPieces reports the time to read Llama 2's vocabulary.
func BenchmarkOpenPieces(b *testing.B) {
	path := testdata.Shared(b, "tokenizers", "llama-spm.gguf")
	for b.Loop() {
		_, err := Open(path)
		require.NoError(b, err)
	}
}

// BenchmarkStreamPieces reports the time a token takes to become text.
func BenchmarkStreamPieces(b *testing.B) {
	tok := opened(b, testdata.Shared(b, "tokenizers", "llama-spm.gguf"))
	ids := tok.Encode(benchText(b, "cnn_dailymail/3.0.0_validation.jsonl"), true)
	b.ReportAllocs()
	i, s := 0, tok.StreamAfter(ids[:100], true)
	for b.Loop() {
		s.Push(ids[i%len(ids)])
		i++
	}
}
