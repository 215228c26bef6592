package results

import (
	"cmp"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// tableColumns are the figures of the table for people, with their headings.
// One that is optional is there only if a case has it.
var tableColumns = []struct {
	column, heading string
	scale           float64
	digits          int // behind the point
	optional        bool
}{
	{"out_tok_per_s", "out tok/s", 1, 1, false},
	{"gen_tok_per_s", "gen tok/s", 1, 1, false},
	{"p2ft_p50_s", "P2FT p50 ms", 1e3, 1, false},
	{"tpot_p50_s", "TPOT p50 ms", 1e3, 1, false},
	{"latency_p50_s", "latency p50 ms", 1e3, 1, false},
	{"latency_p99_s", "p99 ms", 1e3, 1, false},
	{"good_req_per_s", "good req/s", 1, 2, true},
	{"gpu_mem_b", "GPU GB", 1e-9, 2, true},
	{"gpu_energy_j_per_tok", "J/tok", 1, 3, true},
}

// row is a case with all its passes.
type row struct {
	c                Case
	requests, failed int
	dummy            bool
	contract         Verdict  // the gravest of all passes
	marks            []string // of its footnotes
	figures          []sample // of tableColumns, a value a pass
}

// WriteTable writes a table for people to read: a line a case, in the order
// of their first passes, with the median over passes. "-" is a figure that
// could not be had. Where the contract between frameworks was looked at, its
// verdict is a column, and what was not kept a footnote. Every line begins with prefix.
func WriteTable(w io.Writer, prefix string, passes iter.Seq[*Summary]) error {
	var rows []*row
	byCase := map[Case]*row{}
	var notes footnotes
	for s := range passes {
		r := byCase[s.Case]
		if r == nil {
			r = &row{c: s.Case, dummy: s.Dummy, figures: make([]sample, len(tableColumns))}
			byCase[s.Case] = r
			rows = append(rows, r)
		}
		r.requests, r.failed = r.requests+s.Requests, r.failed+s.Failed
		r.judge(s, &notes)
		for i, c := range tableColumns {
			if v, ok := s.Figure(c.column); ok {
				r.figures[i].add(v * c.scale)
			}
		}
	}
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	head := []string{"framework", "model", "task", "mode", "parallel", "requests", "failed"}
	shown := shownColumns(rows)
	for _, i := range shown {
		head = append(head, tableColumns[i].heading)
	}
	judged := slices.ContainsFunc(rows, func(r *row) bool { return r.contract != "" })
	if judged {
		head = append(head, "contract")
	}
	fmt.Fprintf(tw, "%s\t\n", strings.Join(head, "\t"))
	for _, r := range rows {
		cells := r.cells(shown)
		if judged {
			cells = append(cells, r.contractCell())
		}
		fmt.Fprintf(tw, "%s\t\n", strings.Join(cells, "\t"))
	}
	tw.Flush() // a Builder takes everything
	for i, note := range notes {
		fmt.Fprintf(&text, "[%d] %s\n", i+1, note)
	}
	for line := range strings.Lines(text.String()) {
		if _, err := io.WriteString(w, prefix+line); err != nil {
			return err
		}
	}
	return nil
}

// shownColumns returns which of tableColumns the table has.
func shownColumns(rows []*row) []int {
	var shown []int
	for i, c := range tableColumns {
		has := slices.ContainsFunc(rows, func(r *row) bool { _, ok := r.figures[i].quantile(0.5); return ok })
		if has || !c.optional {
			shown = append(shown, i)
		}
	}
	return shown
}

// footnotes are what stands under a table, each once.
type footnotes []string

// mark returns a footnote's number.
func (f *footnotes) mark(note string) string {
	i := slices.Index(*f, note)
	if i < 0 {
		i = len(*f)
		*f = append(*f, note)
	}
	return fmt.Sprintf("[%d]", i+1)
}

// judge takes in a pass's contract.
func (r *row) judge(s *Summary, notes *footnotes) {
	if v := s.Contract.Verdict(); gravity(v) > gravity(r.contract) {
		r.contract = v
	}
	for _, t := range s.Contract.Terms {
		if t.Verdict == Kept {
			continue
		}
		what := map[Verdict]string{
			Broken:  "NOT COMPARABLE, ",
			Unknown: "not known, ",
			Noted:   "for information, ",
		}[t.Verdict] + t.Name
		if s.Contract.Reference != "" {
			what += " beside " + s.Contract.Reference
		}
		detail := strings.Join(strings.Fields(t.Detail), " ")
		if mark := notes.mark(what + ": " + detail); !slices.Contains(r.marks, mark) {
			r.marks = append(r.marks, mark)
		}
	}
}

// contractCell is the verdict with the marks of its footnotes.
func (r *row) contractCell() string {
	v := string(r.contract)
	if r.contract == Broken {
		v = "BROKEN"
	}
	return cmp.Or(v, "-") + strings.Join(r.marks, "")
}

// cells returns the row with some of tableColumns.
func (r *row) cells(shown []int) []string {
	model := r.c.Model
	if r.dummy {
		model += " (random weights)"
	}
	cells := []string{r.c.Framework, model, r.c.Task, r.c.Mode,
		strconv.Itoa(r.c.Parallel), strconv.Itoa(r.requests), strconv.Itoa(r.failed)}
	for _, i := range shown {
		cell := "-"
		if v, ok := r.figures[i].quantile(0.5); ok {
			cell = strconv.FormatFloat(v, 'f', tableColumns[i].digits, 64)
		}
		cells = append(cells, cell)
	}
	return cells
}
