package results

import (
	"cmp"
	"encoding/csv"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Column describes a column of results.csv.
type Column struct {
	Name string
	Doc  string
	cell func(*Summary) string
}

// Columns lists the columns of results.csv in their order. An empty cell
// says that the figure could not be had; 0 is a figure.
func Columns() []Column {
	cols := []Column{
		{"framework", "what served the model", func(s *Summary) string { return s.Case.Framework }},
		{"model", "model, as in the benchmark's name", func(s *Summary) string { return s.Case.Model }},
		{"task", "kind of prompts", func(s *Summary) string { return s.Case.Task }},
		{"mode", "sync: one JSON; stream: server-sent events", func(s *Summary) string { return s.Case.Mode }},
		{"parallel", "requests in flight", func(s *Summary) string { return strconv.Itoa(s.Case.Parallel) }},
		{"repeat", "pass over the case, from 0", func(s *Summary) string { return strconv.Itoa(s.Repeat) }},
		{"requests", "requests sent", func(s *Summary) string { return strconv.Itoa(s.Requests) }},
		{"failed", "of them failed; in no figure", func(s *Summary) string { return strconv.Itoa(s.Failed) }},
		{"errors", "failed requests by class, class:count separated by spaces", (*Summary).errorCell},
		{"start", "what latency and P2FT count from: sent or scheduled", func(s *Summary) string { return string(s.Start) }},
		{"dummy", "true if the weights are seeded noise", func(s *Summary) string { return strconv.FormatBool(s.Dummy) }},
		{"prompt_tokens", "sum over completed requests: usage, else the prepared file's count", func(s *Summary) string { return known(s.PromptTokens) }},
		{"output_tokens", "sum over completed requests: usage, else the recount, else the chunks' counts", func(s *Summary) string { return known(s.OutputTokens) }},
		{"output_tokens_min", "shortest output", func(s *Summary) string { return known(s.OutputMin) }},
		{"output_tokens_mean", "mean output", (*Summary).meanCell},
		{"output_tokens_p50", "median output", (*Summary).medianCell},
		{"output_tokens_max", "longest output", func(s *Summary) string { return known(s.OutputMax) }},
		{"output_at_max", "completed requests whose output is max_tokens long", (*Summary).atMaxCell},
		{"usage_missing", "completed requests whose output the server did not count", func(s *Summary) string { return strconv.Itoa(s.UsageMissing) }},
		{"usage_mismatch", "completed requests whose recount differs from the server's usage", func(s *Summary) string { return strconv.Itoa(s.UsageMismatch) }},
		{"chunk_mismatch", "completed requests whose chunks' tokens do not add up to the usage", func(s *Summary) string { return strconv.Itoa(s.ChunkMismatch) }},
		{"prompt_mismatch", "completed requests whose prompt tokens differ from the prepared file's", func(s *Summary) string { return strconv.Itoa(s.PromptMismatch) }},
		{"wall_s", "first send to last token, completed requests", (*Summary).wallCell},
	}
	for _, m := range Metrics {
		cols = append(cols, Column{m.Column, m.Doc, func(s *Summary) string {
			if v, ok := s.figures[m.Column]; ok {
				return number(v)
			}
			return ""
		}})
	}
	return append(cols,
		Column{"gpu_throttle", "what held the GPUs' clocks down, reason:share of looks separated by spaces; - for nothing", (*Summary).throttleCell},
		Column{"slo", "what good_req_per_s counts by", func(s *Summary) string { return s.SLO.String() }},
		Column{"contract", "kept, unknown or broken: whether the row may stand beside those of other frameworks; empty if nobody looked", func(s *Summary) string { return string(s.Contract.Verdict()) }},
		Column{"contract_terms", "what was looked at, term:verdict separated by spaces", func(s *Summary) string { return s.Contract.String() }},
		Column{"contract_reference", "framework that the row was compared with", func(s *Summary) string { return s.Contract.Reference }},
		Column{"cache", "what the server's prefix cache could know of the prompts: off, drawn, reset, prefixed, shared, warm, unknown", func(s *Summary) string { return s.Cache }},
		Column{"began", "when the pass began, UTC", (*Summary).beganCell},
		Column{"notes", "what could not be done or measured", (*Summary).notesCell},
	)
}

// WriteCSV writes rows of results.csv, under its header if header is set.
func WriteCSV(w io.Writer, header bool, rows ...*Summary) error {
	cols := Columns()
	cw := csv.NewWriter(w)
	cells := make([]string, len(cols))
	if header {
		for i, c := range cols {
			cells[i] = c.Name
		}
		if err := cw.Write(cells); err != nil {
			return fmt.Errorf("results.csv: %w", err)
		}
	}
	for _, s := range rows {
		for i, c := range cols {
			cells[i] = c.cell(s)
		}
		if err := cw.Write(cells); err != nil {
			return fmt.Errorf("results.csv: %w", err)
		}
	}
	cw.Flush()
	return cw.Error()
}

// number prints a value so that it reads back exactly.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// known prints a count of which 0 means not known.
func known(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func (s *Summary) errorCell() string {
	var parts []string
	for _, class := range slices.Sorted(maps.Keys(s.Errors)) {
		parts = append(parts, fmt.Sprintf("%s:%d", class, s.Errors[class]))
	}
	return strings.Join(parts, " ")
}

// throttleCell tells nothing held down from not known.
func (s *Summary) throttleCell() string {
	if s.Usage.GPU == nil || s.Usage.GPU.Throttle == nil {
		return ""
	}
	return cmp.Or(*s.Usage.GPU.Throttle, "-")
}

func (s *Summary) meanCell() string {
	if s.OutputTokens == 0 {
		return ""
	}
	return number(float64(s.OutputTokens) / float64(s.Requests-s.Failed))
}

func (s *Summary) medianCell() string {
	if s.OutputMedian == 0 {
		return ""
	}
	return number(s.OutputMedian)
}

// atMaxCell is 0 where no output is that long, and empty where their lengths
// are not known.
func (s *Summary) atMaxCell() string {
	if s.OutputMax == 0 {
		return ""
	}
	return strconv.Itoa(s.AtMaxTokens)
}

func (s *Summary) wallCell() string {
	if s.Wall <= 0 {
		return ""
	}
	return number(s.Wall.Seconds())
}

func (s *Summary) beganCell() string {
	if s.Began.IsZero() {
		return ""
	}
	return s.Began.UTC().Format(time.RFC3339)
}

func (s *Summary) notesCell() string {
	notes := strings.Join(slices.Concat(s.Contract.Notes(), s.Notes, s.Usage.Notes), "; ")
	return strings.Join(strings.Fields(notes), " ") // a row is a line
}
