package tokenizer

import (
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

// BenchmarkEncode reports MB/s of text on one core.
func BenchmarkEncode(b *testing.B) {
	for _, c := range []struct{ name, file string }{
		{"text=articles", "cnn_dailymail/3.0.0_validation.jsonl"},
		{"text=code", "openai_humaneval/HumanEval.jsonl"},
	} {
		b.Run(c.name, func(b *testing.B) {
			tok, text := openGPT2(b), benchText(b, c.file)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				tok.Encode(text, true)
			}
		})
	}
	b.Run("text=oneword", func(b *testing.B) {
		tok, text := openGPT2(b), strings.Repeat("supercalifragilistic", 5000)
		b.SetBytes(int64(len(text)))
		for b.Loop() {
			tok.Encode(text, true)
		}
	})
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
