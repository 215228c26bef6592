package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/dlclark/regexp2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// divided divides s as a pre-tokeniser's steps do.
func divided(s string, steps ...splitter) []string {
	if len(steps) == 0 {
		return []string{s}
	}
	var out []string
	for s != "" {
		n := steps[0].next(s)
		out = append(out, divided(s[:n], steps[1:]...)...)
		s = s[n:]
	}
	return out
}

// matches divides s by a regular expression, what it does not match included.
func matches(t testing.TB, re *regexp2.Regexp, s string) []string {
	t.Helper()
	var out []string
	runes, done := []rune(s), 0
	m, err := re.FindStringMatch(s)
	for ; m != nil && err == nil; m, err = re.FindNextMatch(m) {
		if m.Index > done {
			out = append(out, string(runes[done:m.Index]))
		}
		if m.Length > 0 {
			out = append(out, m.String())
		}
		done = m.Index + m.Length
	}
	require.NoError(t, err)
	if done < len(runes) {
		out = append(out, string(runes[done:]))
	}
	return out
}

// The published patterns, with U+0085 spelt out: it is white space in Unicode,
// and so for the original, but not for regexp2.
var (
	gpt2Regexp = regexp2.MustCompile(
		`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\x85\p{L}\p{N}]+|[\s\x85]+(?![^\s\x85])|[\s\x85]+`, 0)
	llama3Regexp = regexp2.MustCompile(
		`(?:'[sſ]|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\x85\p{L}\p{N}]+[\r\n]*|[\s\x85]*[\r\n]+|[\s\x85]+(?![^\s\x85])|[\s\x85]+`, regexp2.IgnoreCase)
	digitRegexp = regexp2.MustCompile(`\p{N}`, 0)
)

func checkSplit(t testing.TB, s string) {
	t.Helper()
	assert.Equal(t, matches(t, gpt2Regexp, s), divided(s, gpt2Split{}), "GPT-2's pattern on %q", s)
	assert.Equal(t, matches(t, llama3Regexp, s), divided(s, llama3Split{digits: 3}), "Llama 3's pattern on %q", s)
	assert.Equal(t, matches(t, digitRegexp, s), divided(s, digitSplit{}), "single digits of %q", s)
	assert.Equal(t, s, strings.Join(divided(s, digitSplit{}, gpt2Split{}), ""))
	assert.Equal(t, s, strings.Join(divided(s, digitSplit{runs: true}), ""))
}

// TestPatterns compares the scanners with the original's regular expressions.
func TestPatterns(t *testing.T) {
	g, texts := readGolden(t), 0
	for _, p := range g.Splits {
		scanner, ok := patterns[p.Pattern]
		require.True(t, ok, p.Pattern)
		for i, block := range g.randomTexts(g.Blocks[0]) {
			if !taken(i) {
				continue
			}
			var lengths []int32
			for _, text := range block {
				for _, piece := range divided(text, scanner) {
					lengths = append(lengths, int32(len(piece)))
				}
				texts++
			}
			assert.Equal(t, p.Blocks[i], hashIDs(lengths), "%s: block %d", p.Pattern, i)
		}
	}
	require.Len(t, g.Splits, len(patterns))
	t.Logf("%d texts are divided as by the original", texts)
}

// splitAlphabet has what the patterns tell apart, so that random text meets all of their cases.
var splitAlphabet = []rune(" \t\n\r\u00a0\u0085\u2028\u3000'''stremvldSTREMVLDſx9é½٣Ⅷ中!.\"_<\u0301\u200d👍\x00\ufffd")

func TestSplit(t *testing.T) {
	for _, s := range readGolden(t).Hard {
		if s != "" && !strings.ContainsAny(s, "\u1c89\u180e") { // characters newer than Go's tables, or moved since
			checkSplit(t, s)
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 3000 {
		if !taken(n) {
			continue
		}
		s := make([]rune, 1+rng.IntN(16))
		for i := range s {
			s[i] = splitAlphabet[rng.IntN(len(splitAlphabet))]
		}
		checkSplit(t, string(s))
	}
}

func FuzzSplit(f *testing.F) {
	f.Add("It's  a\n\n test, 123 they'll\u00a0 x")
	f.Fuzz(func(t *testing.T, s string) {
		s = validText(s)
		for _, r := range s {
			if r > 0x1000 && classOf(r) != classOf('!') { // beyond this, Unicode versions differ
				return
			}
		}
		if s != "" {
			checkSplit(t, s)
		}
	})
}
