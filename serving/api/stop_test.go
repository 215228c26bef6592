package api

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// naiveStop is what stopper must give, by the definition: the text before the
// stop string that is complete first behind unarmed bytes, the longest of those
// complete together.
func naiveStop(text string, unarmed int, stops []string) (out, matched string) {
	for end := unarmed + 1; end <= len(text); end++ {
		for _, s := range stops {
			if strings.HasSuffix(text[:end], s) && len(s) > len(matched) {
				matched = s
			}
		}
		if matched != "" {
			return text[:end-len(matched)], matched
		}
	}
	return text, ""
}

// naiveHold is the longest end of text that begins a stop string and is not all
// of it.
func naiveHold(text string, stops []string) int {
	for n := len(text); n > 0; n-- {
		for _, s := range stops {
			if n < len(s) && strings.HasPrefix(s, text[len(text)-n:]) {
				return n
			}
		}
	}
	return 0
}

// runStop gives a stopper pieces, the first of them unarmed.
func runStop(t *testing.T, pieces []string, unarmed int, stops []string) (out, matched string) {
	t.Helper()
	s := newStopper(newAutomata(stops))
	var all string
	for i, p := range pieces {
		o, m := s.push(p, i >= unarmed)
		all += p
		out += o
		if m != "" {
			return out, m
		}
		require.Equalf(t, all[:len(all)-naiveHold(all, stops)], out,
			"for %q of %q with stops %q: what is given out so far", all, pieces, stops)
	}
	return out + s.flush(), ""
}

func TestStopper(t *testing.T) {
	tests := []struct {
		pieces, stops []string
		out, matched  string
	}{
		{[]string{"a", "b"}, nil, "ab", ""},
		{[]string{"", ""}, []string{"x"}, "", ""},
		{[]string{"hello wo", "rld"}, []string{"wor"}, "hello ", "wor"},
		{[]string{"h", "e", "l", "l", "o"}, []string{"llo!"}, "hello", ""},
		{[]string{"aab", "aab", "aaa", "b"}, []string{"aabaaab"}, "aab", "aabaaab"},
		{[]string{"User", ": x"}, []string{"\nUser:", "User:"}, "", "User:"},
		{[]string{"a\nUser", ":"}, []string{"User:", "\nUser:"}, "a", "\nUser:"},
		{[]string{"abcd"}, []string{"bcd", "c"}, "ab", "c"},
		{[]string{"123"}, []string{"3", "2"}, "1", "2"},
		{[]string{"\n", "\n", "x"}, []string{"\n\n\n"}, "\n\nx", ""},
		{[]string{"naï", "ve é"}, []string{"é", "ïx"}, "naïve ", "é"},
		{[]string{"xyz"}, []string{"xyz"}, "", "xyz"},
	}
	for _, tt := range tests {
		out, matched := runStop(t, tt.pieces, 0, tt.stops)
		assert.Equalf(t, tt.out, out, "for %q with stops %q", tt.pieces, tt.stops)
		assert.Equalf(t, tt.matched, matched, "for %q with stops %q", tt.pieces, tt.stops)
	}
}

// TestStopperRandom compares with the definition on texts of few letters, which
// overlap themselves and the stop strings in every way.
func TestStopperRandom(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]rune, 1+rng.IntN(n))
		for i := range b {
			b[i] = []rune("abé")[rng.IntN(3)]
		}
		return string(b)
	}
	matches := 0
	for range 5000 {
		stops := make([]string, rng.IntN(maxStop+1))
		for i := range stops {
			stops[i] = word(6)
		}
		pieces := make([]string, 1+rng.IntN(8))
		for i := range pieces {
			if rng.IntN(4) > 0 {
				pieces[i] = word(5)
			}
		}
		unarmed := max(0, rng.IntN(len(pieces)+3)-2)
		out, matched := runStop(t, pieces, unarmed, stops)
		wantOut, wantMatched := naiveStop(strings.Join(pieces, ""), len(strings.Join(pieces[:unarmed], "")), stops)
		require.Equalf(t, wantOut, out, "for %q with stops %q", pieces, stops)
		require.Equalf(t, wantMatched, matched, "for %q with stops %q", pieces, stops)
		if matched != "" {
			matches++
		}
	}
	require.Greater(t, matches, 1000, "the cases must stop often enough to test anything")
}

// TestStoppersShareAutomata: what long stop strings take does not grow with the
// choices of a request, and a stopper's state is its own.
func TestStoppersShareAutomata(t *testing.T) {
	of := newAutomata([]string{"ab", strings.Repeat("x", 1<<20)})
	a, b := newStopper(of), newStopper(of)
	assert.Same(t, &a.automata[1].fail[0], &b.automata[1].fail[0])
	out, _ := a.push("a", true)
	assert.Empty(t, out)
	out, matched := b.push("b", true)
	assert.Equal(t, "b", out)
	assert.Empty(t, matched, "the a before it was the other's")
	_, matched = a.push("b", true)
	assert.Equal(t, "ab", matched)
}
