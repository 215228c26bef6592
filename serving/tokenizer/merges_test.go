package tokenizer

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// mergedPlainly merges by the definition: the lowest pair, the leftmost of equals, one at a time.
func mergedPlainly(m *merges, symbols []int32) []int32 {
	ids := slices.Clone(symbols)
	for {
		best, at := noMerge, 0
		for i := 0; i+1 < len(ids); i++ {
			if rank := m.lookup(ids[i], ids[i+1]).rank; rank < best {
				best, at = rank, i
			}
		}
		if best == noMerge {
			return ids
		}
		ids[at] = m.lookup(ids[at], ids[at+1]).id
		ids = slices.Delete(ids, at+1, at+2)
	}
}

// randomMerges makes up a vocabulary over a few symbols. Its merges are of any
// two tokens that there are, in any order of ranks, and some share a rank: worse
// than those that training gives, and than SentencePiece's scores.
func randomMerges(rng *rand.Rand, symbols, size int) *merges {
	var tokens []string
	ids := map[string]int32{}
	for i := range symbols {
		s := string(rune('a' + i))
		ids[s] = int32(i)
		tokens = append(tokens, s)
	}
	ranks := rng.Perm(2 * size)
	shared := 1 + rng.IntN(3)
	m := newMerges(rng.IntN(2) * size)
	recent := rng.IntN(2) == 0 // long tokens, of those just made
	for i := range size {
		pick := func() string {
			if recent && rng.IntN(3) > 0 {
				return tokens[len(tokens)-1-rng.IntN(min(4, len(tokens)))]
			}
			return tokens[rng.IntN(len(tokens))]
		}
		left, right := pick(), pick()
		if len(left)+len(right) > 70 {
			continue
		}
		id, known := ids[left+right]
		if !known {
			id = int32(len(tokens))
			ids[left+right] = id
			tokens = append(tokens, left+right)
		}
		rank := i
		if shared > 1 {
			rank = ranks[i] / shared
		}
		m.set(pair{ids[left], ids[right]}, merge{int32(rank), id})
	}
	return m
}

// randomSymbols makes up a word: symbols at random, or a short piece again and again.
func randomSymbols(rng *rand.Rand, symbols, n int) []int32 {
	word := make([]int32, n)
	period := n
	if rng.IntN(2) == 0 {
		period = 1 + rng.IntN(20)
	}
	for i := range word {
		word[i] = int32(rng.IntN(symbols))
		if i >= period && rng.IntN(100) > 0 {
			word[i] = word[i-period]
		}
	}
	return word
}

func checkMerges(t testing.TB, m *merges, symbols []int32) {
	t.Helper()
	want := mergedPlainly(m, symbols)
	got := m.apply([]int32{7}, slices.Clone(symbols))
	require.Equal(t, int32(7), got[0])
	require.Equal(t, want, got[1:], "in windows, of %d symbols", len(symbols))
	var tr tree
	tr.merge(m, symbols)
	var alone []int32
	for at := 0; at < len(symbols); at = tr.after(at) {
		alone = append(alone, tr.ids[at])
	}
	require.Equal(t, want, alone, "as one tree, of %d symbols", len(symbols))
}

func TestMerges(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	words := 0
	for i := range 100 {
		if !taken(i) {
			continue
		}
		symbols := 1 + rng.IntN(6)
		m := randomMerges(rng, symbols, 1+rng.IntN(80))
		for range 3 {
			checkMerges(t, m, randomSymbols(rng, symbols, 1+rng.IntN(800)))
			words++
		}
	}
	t.Logf("%d words merge as by the definition", words)
}

// TestMergesReachBack holds that windows reach back as far as text changes what
// came before: here a merge of the last two symbols, where each goes before that
// of the two before, turns over all pairs up to the beginning.
func TestMergesReachBack(t *testing.T) {
	const n = 2000
	m := newMerges(n)
	for i := range int32(n - 1) {
		m.set(pair{i, i + 1}, merge{n - i, n + i})
	}
	for _, length := range []int{n, n - 1, n - 256, 300, 299} {
		symbols := make([]int32, length)
		for i := range symbols {
			symbols[i] = int32(i)
		}
		checkMerges(t, m, symbols)
	}
}

func TestMergesTable(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	m, want := newMerges(0), map[pair]merge{}
	for range 5000 {
		p := pair{int32(rng.IntN(60)), int32(rng.IntN(60))}
		want[p] = merge{rng.Int32(), rng.Int32()}
		m.set(p, want[p])
	}
	for left := range int32(60) {
		for right := range int32(60) {
			into, ok := want[pair{left, right}]
			if !ok {
				into.rank, into.id = noMerge, none
			}
			assert.Equal(t, into, m.lookup(left, right))
		}
	}
	assert.Equal(t, len(want), m.size)
}

// TestLongWords merges a megabyte of one word, which takes hours in time that
// grows with the square; under the race detector an eighth of it, minutes.
func TestLongWords(t *testing.T) {
	tok, err := Dummy(4096)
	require.NoError(t, err)
	length := 1 << 20
	if testdata.Race {
		length /= 8
	}
	text := strings.Repeat("theother", length/8)
	assert.Equal(t, text, tok.Decode(tok.Encode(text, true), false))
}

func FuzzMerges(f *testing.F) {
	f.Add(uint64(1), []byte("abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc"))
	f.Fuzz(func(t *testing.T, seed uint64, word []byte) {
		rng := rand.New(rand.NewPCG(seed, 1))
		n := 1 + rng.IntN(6)
		symbols := make([]int32, len(word))
		for i, b := range word {
			symbols[i] = int32(int(b) % n)
		}
		if len(symbols) > 0 && len(symbols) < 5000 {
			checkMerges(t, randomMerges(rng, n, 1+rng.IntN(80)), symbols)
		}
	})
}
