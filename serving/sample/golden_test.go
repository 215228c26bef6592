package sample

import (
	"encoding/json"
	"math"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// TestTransformers compares with what Transformers' logits processors leave;
// testdata/make_sampling.py tells how.
func TestTransformers(t *testing.T) {
	var file struct {
		Rows []struct {
			Logits   []float32
			Logprobs []float64
		}
		Cases []struct {
			Name                            string
			Row                             int
			Temperature, Repetition         float64
			Presence, Frequency             float64
			TopP                            float64 `json:"top_p"`
			TopK                            int     `json:"top_k"`
			MinP                            float64 `json:"min_p"`
			TypicalP                        float64 `json:"typical_p"`
			Bias                            map[string]float32
			Allowed, Banned, Prompt, Output []int32
			Greedy                          int32
			Probs                           [][2]float64
		}
	}
	raw, err := os.ReadFile(testdata.Path("sampling", "vectors.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(raw, &file))
	require.NotEmpty(t, file.Cases)
	var s Sampler
	worst := 0.0
	for _, c := range file.Cases {
		p := Params{
			Temperature: c.Temperature, TopP: c.TopP, TopK: c.TopK, MinP: c.MinP, TypicalP: c.TypicalP, Allowed: c.Allowed,
			RepetitionPenalty: c.Repetition, PresencePenalty: c.Presence, FrequencyPenalty: c.Frequency,
		}
		for name, value := range c.Bias {
			id, err := strconv.Atoi(name)
			require.NoError(t, err)
			p.Bias = append(p.Bias, Bias{int32(id), value})
		}
		d := Draw{Params: p, Banned: c.Banned, History: past{c.Prompt, c.Output}.history(p)}
		sample(t, &s, file.Rows[c.Row].Logits, d)
		var total float64
		for _, w := range s.weights {
			total += float64(w)
		}
		got := map[int32]float64{}
		for i, id := range s.ids {
			got[id] = float64(s.weights[i]) / total
		}
		for _, want := range c.Probs {
			id, share := int32(want[0]), want[1]
			if share < math.Exp(leastExponent) {
				delete(got, id)
				continue
			}
			require.Containsf(t, got, id, "for row %d, %s", c.Row, c.Name)
			off := math.Abs(got[id]/share - 1)
			worst = max(worst, off)
			require.Lessf(t, off, goldenError, "for row %d, %s: id %d has %v, want %v", c.Row, c.Name, id, got[id], share)
			delete(got, id)
		}
		require.Emptyf(t, got, "for row %d, %s: ids that are not left", c.Row, c.Name)
		d.Params.Temperature = 0
		require.Equalf(t, c.Greedy, sample(t, &s, file.Rows[c.Row].Logits, d), "for row %d, %s", c.Row, c.Name)
	}
	t.Logf("%d cases, largest error %.3g, %.0f%% of what is allowed", len(file.Cases), worst, 100*worst/goldenError)

	worst = 0
	for _, row := range file.Rows {
		lp := Logprobs{Top: make([]Logprob, len(row.Logits))}
		require.NoError(t, s.Logprobs(row.Logits, 0, 0, &lp))
		for _, l := range lp.Top {
			worst = max(worst, math.Abs(float64(l.Logprob)-row.Logprobs[l.ID]))
		}
		require.Equal(t, lp.Top[lp.Own.Rank-1], lp.Own)
	}
	t.Logf("log-probabilities: largest error %.3g, %.0f%% of what is allowed", worst, 100*worst/logprobsError)
	require.Less(t, worst, logprobsError)
}

// goldenError is what a share may be off: exp's error twice, and the rounding of
// penalised logits to float32, half an ulp of values up to 64, over the least
// temperature of the cases, 0.7.
const goldenError = 2*expError + 2*2e-6/0.7
