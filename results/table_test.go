package results

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWriteTable(t *testing.T) {
	stream := Case{Framework: "custom", Model: "gpt2", Task: "qa", Mode: ModeStream, Parallel: 4}
	sync := Case{Framework: "custom", Model: "gpt2", Task: "qa", Mode: ModeSync, Parallel: 4}
	pass := func(c Case, failed int, figures map[string]float64) *Summary {
		return &Summary{Case: c, Requests: 6, Failed: failed, Options: Options{Dummy: c == sync}, figures: figures}
	}
	var out strings.Builder
	require.NoError(t, WriteTable(&out, "# ", slices.Values([]*Summary{
		pass(stream, 0, map[string]float64{"out_tok_per_s": 100, "p2ft_p50_s": 0.020}),
		pass(sync, 0, map[string]float64{"out_tok_per_s": 50.04}),
		pass(stream, 1, map[string]float64{"out_tok_per_s": 120, "p2ft_p50_s": 0.030}),
		pass(stream, 0, map[string]float64{"out_tok_per_s": 90, "p2ft_p50_s": 0.0251}),
	})))
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	require.Len(t, lines, 3)
	var rows [][]string
	for _, l := range lines {
		require.True(t, strings.HasPrefix(l, "# "), l)
		rows = append(rows, strings.Fields(l)[1:])
	}
	require.Equal(t, []string{"custom", "gpt2", "qa", "stream", "4", "18", "1", "100.0", "-", "25.1", "-", "-", "-"}, rows[1])
	require.Equal(t, []string{"custom", "gpt2", "(random", "weights)", "qa", "sync", "4", "6", "0", "50.0", "-", "-", "-", "-", "-"}, rows[2])
}
