package api

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// docTables are the tables of doc.go by the first cell of their first row. Cells
// are divided by two spaces or more, where the row before them leaves room.
func docTables(t *testing.T) map[string][][]string {
	t.Helper()
	raw, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	tables := map[string][][]string{}
	var header string
	var starts []int // of the columns of the table at hand
	for line := range strings.Lines(string(raw)) {
		row, ok := strings.CutPrefix(strings.TrimRight(line, "\n"), "//\t")
		if !ok {
			header = ""
			continue
		}
		runes := []rune(row)
		if header == "" {
			header = regexp.MustCompile(`\S+`).FindString(row)
			starts = []int{0}
			for _, at := range regexp.MustCompile(`\s+\S`).FindAllStringIndex(row, -1) {
				starts = append(starts, at[1]-1)
			}
		}
		var cells []string
		for i, from := range starts {
			to := len(runes)
			if i+1 < len(starts) {
				to = min(to, starts[i+1])
			}
			cells = append(cells, strings.TrimSpace(string(runes[min(from, to):to])))
		}
		tables[header] = append(tables[header], cells)
	}
	return tables
}

// TestDocRoutes holds the table of routes to the server's.
func TestDocRoutes(t *testing.T) {
	var got, want []string
	for _, row := range docTables(t)["route"][1:] {
		got = append(got, row[0])
		assert.NotEmptyf(t, row[1], "what %s is for", row[0])
	}
	for _, e := range newFake("").server(t).endpoints() {
		want = append(want, e.method+" "+e.pattern)
	}
	assert.ElementsMatch(t, want, got)
}

// TestDocFields holds the table of fields to the routes' field tables.
func TestDocFields(t *testing.T) {
	rows := docTables(t)["field"]
	routes := map[string]map[string]setter{
		"completions": completionFields,
		"chat":        chatFields,
		"tokenize":    (&tokenizeRequest{}).fields(),
		"detokenize":  detokenizeFields(new([]int32)),
	}
	refusals := maps.Clone(sharedRefusals)
	maps.Copy(refusals, completionRefusals)
	maps.Copy(refusals, chatRefusals)
	seen := map[string]bool{}
	for _, row := range rows[1:] {
		name := row[0]
		assert.Falsef(t, seen[name], "%s stands twice", name)
		seen[name] = true
		for i, route := range rows[0] {
			fields, ok := routes[route]
			if !ok {
				continue
			}
			want := "done"
			if fields[name] == nil {
				want = "-"
			} else if slices.Contains(harmless, name) {
				want = "ignored"
			} else if r, ok := refusals[name]; ok {
				want = "refused"
				err := fields[name](&request{}, name, json.RawMessage(`{"any":"thing"}`))
				assert.ErrorContainsf(t, err, r.why, "for %s", name)
				assert.Containsf(t, row[len(row)-1], r.neutral, "for %s: the value that changes nothing", name)
			}
			assert.Equalf(t, want, row[i], "for %s on %s", name, route)
		}
	}
	for route, fields := range routes {
		require.Containsf(t, rows[0], route, "the table has no column")
		for name := range fields {
			assert.Truef(t, seen[name], "%s of %s is not in the table", name, route)
		}
	}
}

// TestDocDifferences holds the table of differences from vLLM to the list that
// the replay uses: every field that differs is there with its reason, and no
// reason that is not used.
func TestDocDifferences(t *testing.T) {
	field := regexp.MustCompile(`([a-z_]+): `)
	rows := docTables(t)["what"][1:]
	used := make([]bool, len(rows))
	for _, d := range differences {
		name, found := field.FindStringSubmatch(d.line)[1], false
		for i, row := range rows {
			if row[1] == d.why && regexp.MustCompile(`\b`+name+`\b`).MatchString(row[0]) {
				used[i], found = true, true
			}
		}
		assert.Truef(t, found, "the table lacks %s: %s", name, d.why)
	}
	for i, row := range rows {
		assert.Truef(t, used[i], "the table has %s: %s, which no recording shows", row[0], row[1])
	}
}
