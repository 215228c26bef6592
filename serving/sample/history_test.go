package sample

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestHistory compares with a map.
func TestHistory(t *testing.T) {
	for seed := range uint64(100) {
		rng := rand.New(rand.NewPCG(seed, 3))
		p := Params{RepetitionPenalty: 1.1}
		if seed%2 == 0 {
			p = Params{PresencePenalty: 1}
		}
		ids := make([]int32, rng.IntN(500))
		for i := range ids {
			ids[i] = rng.Int32N(1 << (1 + rng.IntN(16)))
		}
		prompt := rng.IntN(len(ids) + 1)
		h := NewHistory(p, ids[:prompt], rng.IntN(2)*(len(ids)-prompt)) // with and without room
		want := map[int32]int32{}
		for i, id := range ids {
			if i >= prompt {
				h.Add(id)
				want[id]++
			} else if p.repeats() {
				want[id] += 0
			}
		}
		got := map[int32]int32{}
		for _, s := range h.seen {
			require.NotContains(t, got, s.id, "an id has two places")
			got[s.id] = s.output
		}
		require.Equal(t, want, got)
	}
}

func TestHistoryOfNothing(t *testing.T) {
	for _, p := range []Params{{}, {RepetitionPenalty: 1}, {Bias: []Bias{{1, 1}}}} {
		require.Nil(t, NewHistory(p, []int32{1, 2}, 9))
	}
	var h *History
	h.Add(4)
}

func TestHistoryWithRoomAllocatesNothing(t *testing.T) {
	h := NewHistory(Params{RepetitionPenalty: 2}, make([]int32, 100), 2001)
	id := int32(0)
	require.Zero(t, testing.AllocsPerRun(2000, func() { h.Add(id); id += 64 })) // collide where a mask would
	require.Len(t, h.seen, 2001)
}
