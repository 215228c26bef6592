package results

import (
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"
	"text/tabwriter"
)

// tableColumns are the figures of the table for people, with their headings.
var tableColumns = []struct {
	column, heading string
	scale           float64
}{
	{"out_tok_per_s", "out tok/s", 1},
	{"gen_tok_per_s", "gen tok/s", 1},
	{"p2ft_p50_s", "P2FT p50 ms", 1e3},
	{"tpot_p50_s", "TPOT p50 ms", 1e3},
	{"latency_p50_s", "latency p50 ms", 1e3},
	{"latency_p99_s", "p99 ms", 1e3},
}

// row is a case with all its passes.
type row struct {
	c                Case
	requests, failed int
	dummy            bool
	figures          []sample // of tableColumns, a value a pass
}

// WriteTable writes a table for people to read: a line a case, in the order
// of their first passes, with the median over passes. "-" is a figure that
// could not be had. Every line begins with prefix.
func WriteTable(w io.Writer, prefix string, passes iter.Seq[*Summary]) error {
	var rows []*row
	byCase := map[Case]*row{}
	for s := range passes {
		r := byCase[s.Case]
		if r == nil {
			r = &row{c: s.Case, dummy: s.Dummy, figures: make([]sample, len(tableColumns))}
			byCase[s.Case] = r
			rows = append(rows, r)
		}
		r.requests, r.failed = r.requests+s.Requests, r.failed+s.Failed
		for i, c := range tableColumns {
			if v, ok := s.Figure(c.column); ok {
				r.figures[i].add(v * c.scale)
			}
		}
	}
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := []string{"framework", "model", "task", "mode", "parallel", "requests", "failed"}
	for _, c := range tableColumns {
		head = append(head, c.heading)
	}
	fmt.Fprintf(tw, "%s\t\n", strings.Join(head, "\t"))
	for _, r := range rows {
		fmt.Fprintf(tw, "%s\t\n", strings.Join(r.cells(), "\t"))
	}
	tw.Flush() // a Builder takes everything
	for line := range strings.Lines(text.String()) {
		if _, err := io.WriteString(w, prefix+line); err != nil {
			return err
		}
	}
	return nil
}

func (r *row) cells() []string {
	model := r.c.Model
	if r.dummy {
		model += " (random weights)"
	}
	cells := []string{r.c.Framework, model, r.c.Task, r.c.Mode,
		strconv.Itoa(r.c.Parallel), strconv.Itoa(r.requests), strconv.Itoa(r.failed)}
	for i := range r.figures {
		cell := "-"
		if v, ok := r.figures[i].quantile(0.5); ok {
			cell = strconv.FormatFloat(v, 'f', 1, 64)
		}
		cells = append(cells, cell)
	}
	return cells
}
