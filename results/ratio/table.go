package ratio

import (
	"encoding/csv"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"servebench/results"
)

// headings are the figures that have a shorter name for people, with the scale
// that they are read at.
var headings = map[string]struct {
	text  string
	scale float64
}{
	"out_tok_per_s":   {"output tokens/s", 1},
	"total_tok_per_s": {"tokens/s", 1},
	"req_per_s":       {"requests/s", 1},
	"p2ft_p50_s":      {"prompt to first token, median, ms", 1e3},
	"p2ft_p99_s":      {"prompt to first token, p99, ms", 1e3},
	"tpot_p50_s":      {"time per output token, median, ms", 1e3},
	"itl_p99_s":       {"gap between tokens, p99, ms", 1e3},
}

func (rep *Report) heading() (string, float64) {
	if h, ok := headings[rep.Metric.Column]; ok {
		return h.text, h.scale
	}
	return rep.Metric.Column, 1
}

// Markdown writes a table: a line a case, the median of each framework over the
// rounds, the best peer's in bold, and the ratio to it.
func (rep *Report) Markdown(w io.Writer) error {
	heading, scale := rep.heading()
	var b strings.Builder
	fmt.Fprintf(&b, "%s (%s is better), medians over rounds:\n\n", heading, rep.Metric.Better)
	head := []string{"model", "task", "in flight", rep.Base}
	head = append(append(head, rep.Peers...), rep.Base+" ÷ best peer [95% interval]", "rounds")
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	marked := map[results.Verdict]bool{}
	for _, c := range rep.Cases {
		cells := []string{c.Model, taskCell(c), strconv.Itoa(c.Parallel)}
		for _, s := range c.Sides {
			cell := "—"
			if len(s.Values) > 0 {
				cell = short(s.Median * scale)
			}
			if s.Framework == c.Best {
				cell = "**" + cell + "**"
			}
			if len(s.Values) > 0 {
				cell += mark(s.Contract)
				marked[s.Contract] = true
			}
			cells = append(cells, cell)
		}
		ratio := c.Ratio.String()
		if !c.Comparable() {
			ratio += mark(results.Broken)
		}
		cells = append(cells, ratio, strconv.Itoa(len(c.Pairs)))
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	if marked[results.Broken] {
		fmt.Fprintf(&b, "\n%s breaks the contract between frameworks: NOT COMPARABLE with the others of its line. The warnings say why.\n", mark(results.Broken))
	}
	if marked[results.Unknown] {
		fmt.Fprintf(&b, "\n%s part of the contract between frameworks could not be checked; contract_terms in results.csv says which.\n", mark(results.Unknown))
	}
	for i, warning := range rep.Warnings {
		if i == 0 {
			b.WriteString("\nWarnings:\n\n")
		}
		fmt.Fprintf(&b, "- %s\n", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// mark follows a figure of a side that does not keep the contract, or may not.
func mark(v results.Verdict) string {
	switch v {
	case results.Broken:
		return "†"
	case results.Unknown:
		return "?"
	}
	return ""
}

func taskCell(c Case) string {
	if c.Mode == "stream" {
		return c.Task
	}
	return c.Task + ", " + c.Mode
}

// String returns the estimate as "3.21 [3.05, 3.38]".
func (e Estimate) String() string {
	if math.IsNaN(e.Center) {
		return "—"
	}
	if math.IsInf(e.Hi, 0) {
		return fmt.Sprintf("%.2f", e.Center)
	}
	return fmt.Sprintf("%.2f [%.2f, %.2f]", e.Center, e.Lo, e.Hi)
}

// short prints three digits or more.
func short(v float64) string {
	if math.Abs(v) >= 100 {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

// csvHeader are the columns that CSV writes, in SI units.
var csvHeader = []string{"metric", "better", "model", "task", "mode", "parallel", "framework", "median", "rounds",
	"best_peer", "ratio_to_best", "ratio_lo", "ratio_hi", "pairs", "contract", "comparable"}

// CSV writes a line for each framework of each case, with the ratio in that of
// the base and whether it is of two sides that keep the contract; header says whether the names of the columns come first.
func (rep *Report) CSV(w io.Writer, header bool) error {
	cw := csv.NewWriter(w)
	if header {
		if err := cw.Write(csvHeader); err != nil {
			return err
		}
	}
	for _, c := range rep.Cases {
		for _, s := range c.Sides {
			if len(s.Values) == 0 {
				continue
			}
			line := []string{rep.Metric.Column, rep.Metric.Better, c.Model, c.Task, c.Mode, strconv.Itoa(c.Parallel),
				s.Framework, number(s.Median), strconv.Itoa(len(s.Values)), "", "", "", "", "", string(s.Contract), ""}
			if s.Framework == rep.Base {
				line[9], line[10], line[13] = c.Best, number(c.Ratio.Center), strconv.Itoa(len(c.Pairs))
				line[15] = c.comparableCell()
				if !math.IsInf(c.Ratio.Hi, 0) {
					line[11], line[12] = number(c.Ratio.Lo), number(c.Ratio.Hi)
				}
			}
			if err := cw.Write(line); err != nil {
				return err
			}
		}
	}
	cw.Flush()
	return cw.Error()
}

// comparableCell is true, false, or empty where it is not known of both sides.
func (c *Case) comparableCell() string {
	if !c.Comparable() {
		return "false"
	}
	for _, s := range c.Sides {
		if (s.Framework == c.Best || s.Framework == c.Sides[0].Framework) && s.Contract != results.Kept {
			return ""
		}
	}
	return "true"
}

// number prints a value so that it reads back exactly, "" if there is none.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return ""
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
