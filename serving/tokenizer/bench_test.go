package tokenizer

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// benchText joins the texts of a real dataset file.
func benchText(b *testing.B, file string) string {
	var all strings.Builder
	for _, row := range rowTexts(b, file) {
		all.WriteString(strings.Join(row, "\n"))
	}
	return all.String()
}

// longWords are texts of n bytes that a pattern leaves whole, or next to it, by name.
var longWords = []struct {
	name string
	make func(rng *rand.Rand, n int) string
}{
	{"letters", func(rng *rand.Rand, n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = 'a' + byte(rng.IntN(26))
		}
		return string(b)
	}},
	{"repeated", func(_ *rand.Rand, n int) string { return strings.Repeat("a", n) }},
	{"words", func(_ *rand.Rand, n int) string {
		return strings.Repeat("supercalifragilistic", n/20+1)[:n]
	}},
	{"base64", func(rng *rand.Rand, n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rng.IntN(256))
		}
		return base64.StdEncoding.EncodeToString(b)[:n]
	}},
	{"cjk", func(rng *rand.Rand, n int) string {
		var b strings.Builder
		for b.Len() < n {
			b.WriteRune(0x4e00 + rng.Int32N(0x5000))
		}
		return b.String()
	}},
	{"emoji", func(rng *rand.Rand, n int) string {
		var b strings.Builder
		for b.Len() < n {
			b.WriteRune(0x1f300 + rng.Int32N(0x300))
		}
		return b.String()
	}},
	{"spaces", func(_ *rand.Rand, n int) string { return strings.Repeat(" ", n) }},
}

// encodes reports MB/s of a text.
func encodes(tok *Tokenizer, text string) func(*testing.B) {
	return func(b *testing.B) {
		b.SetBytes(int64(len(text)))
		b.ReportAllocs()
		for b.Loop() {
			tok.Encode(text, true)
		}
	}
}

// BenchmarkEncode reports MB/s of real text on one core, for each pattern.
func BenchmarkEncode(b *testing.B) {
	articles, code := benchText(b, "cnn_dailymail/3.0.0_validation.jsonl"), benchText(b, "openai_humaneval/HumanEval.jsonl")
	run := func(vocabulary string, tok *Tokenizer) {
		b.Run("vocabulary="+vocabulary+"/text=articles", encodes(tok, articles))
		b.Run("vocabulary="+vocabulary+"/text=code", encodes(tok, code))
	}
	run("gpt2", openGPT2(b))
	run("codegen", codeGenGGUF(b))
	for _, c := range readGolden(b).Trained {
		tok, err := FromFolder(folder(b, map[string]string{"tokenizer.json": string(c.File)}))
		require.NoError(b, err)
		run(c.Name, tok)
	}
}

// BenchmarkLongWord reports MB/s of text that is one word, or next to it: the
// same at each length where time is linear.
func BenchmarkLongWord(b *testing.B) {
	tok := openGPT2(b)
	for _, w := range longWords {
		for _, n := range []int{10_000, 100_000, 1_000_000, 7_000_000} {
			b.Run(fmt.Sprintf("text=%s/bytes=%d", w.name, n), encodes(tok, w.make(rand.New(rand.NewPCG(1, 2)), n)))
		}
	}
}

// BenchmarkStream reports the time a token takes to become text.
func BenchmarkStream(b *testing.B) {
	tok := openGPT2(b)
	ids := tok.Encode(benchText(b, "cnn_dailymail/3.0.0_validation.jsonl"), true)
	b.ReportAllocs()
	i, s := 0, tok.Stream(true)
	for b.Loop() {
		s.Push(ids[i%len(ids)])
		i++
	}
}

// BenchmarkOpen reports the time to read GPT-2's vocabulary.
func BenchmarkOpen(b *testing.B) {
	path := testdata.Shared(b, "tokenizers", "gpt-2.gguf")
	for b.Loop() {
		_, err := Open(path)
		require.NoError(b, err)
	}
}
