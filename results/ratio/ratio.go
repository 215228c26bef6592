package ratio

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"golang.org/x/perf/benchmath"

	"servebench/results"
)

// Confidence of the intervals.
const Confidence = 0.95

// Report is a figure of every case, of all frameworks.
type Report struct {
	Metric   results.Metric
	Base     string   // framework that is compared
	Peers    []string // the others, in the order in which they appear
	Cases    []Case
	Warnings []Warning
}

// Case is a case that the base and at least one peer have a figure of.
type Case struct {
	results.Case           // without its framework
	Sides        []Side    // Base, then Peers; one without values was not measured
	Best         string    // of the peers that keep the contract; of all, if none does
	Ratio        Estimate  // Base ÷ Best
	Pairs        []float64 // the ratio of each round
}

// Side is a framework's part of a case.
type Side struct {
	Framework string
	Values    []float64 // a round each
	Median    float64
	Contract  results.Verdict // the gravest of its rows; "" if nobody looked
}

// Estimate is a value with its interval. Where there is none Hi is infinite;
// Center is not a number where no round has both sides.
type Estimate struct{ Center, Lo, Hi float64 }

// Warning is something that makes a figure of a case doubtful.
type Warning struct {
	Case results.Case
	Text string
}

func (w Warning) String() string {
	return fmt.Sprintf("%s, %s, %s, %d in flight, %s: %s", w.Case.Model, w.Case.Task, w.Case.Mode, w.Case.Parallel, w.Case.Framework, w.Text)
}

// turn identifies the passes that were measured in turns.
type turn struct{ round, repeat int }

// Compare compares the framework base with the others for the figure of a
// column of results.csv. Cases come in the order of their first rows.
func Compare(rows []Row, base, column string) (*Report, error) {
	i := slices.IndexFunc(results.Metrics, func(m results.Metric) bool { return m.Column == column })
	if i < 0 {
		return nil, fmt.Errorf("there is no figure %q", column)
	}
	rep := &Report{Metric: results.Metrics[i], Base: base}
	byCase := map[results.Case]map[string][]Row{}
	var order []results.Case
	for _, r := range rows {
		if f := r.Case.Framework; f != base && !slices.Contains(rep.Peers, f) {
			rep.Peers = append(rep.Peers, f)
		}
		c := r.Case
		c.Framework = ""
		if byCase[c] == nil {
			byCase[c] = map[string][]Row{}
			order = append(order, c)
		}
		byCase[c][r.Case.Framework] = append(byCase[c][r.Case.Framework], r)
	}
	for _, c := range order {
		if err := rep.add(c, byCase[c]); err != nil {
			return nil, err
		}
	}
	if len(rep.Cases) == 0 {
		return nil, fmt.Errorf("no case has %s of %s and of another framework", column, base)
	}
	return rep, nil
}

// add compares one case.
func (rep *Report) add(c results.Case, sides map[string][]Row) error {
	values := map[string]map[turn]float64{}
	out := Case{Case: c}
	best, kept := 0.0, false
	for _, f := range append([]string{rep.Base}, rep.Peers...) {
		var err error
		if values[f], err = rep.values(sides[f]); err != nil {
			return err
		}
		side := Side{Framework: f}
		for _, t := range turns(values[f]) {
			side.Values = append(side.Values, values[f][t])
		}
		side.Median, side.Contract = median(side.Values), contract(sides[f], sides[rep.Base])
		out.Sides = append(out.Sides, side)
		if f == rep.Base || len(side.Values) == 0 {
			continue
		}
		// One that breaks the contract is the best only where none keeps it.
		whole := side.Contract != results.Broken
		if out.Best == "" || whole && !kept || whole == kept && rep.better(side.Median, best) {
			out.Best, best, kept = f, side.Median, whole
		}
	}
	rep.warn(sides)
	if out.Best == "" || len(values[rep.Base]) == 0 {
		return nil
	}
	for _, t := range turns(values[rep.Base]) {
		if peer, ok := values[out.Best][t]; ok {
			out.Pairs = append(out.Pairs, values[rep.Base][t]/peer)
		}
	}
	out.Ratio = estimate(out.Pairs)
	rep.Cases = append(rep.Cases, out)
	return nil
}

// values returns the figure of each turn; a pass that lacks it, or has 0, has none.
func (rep *Report) values(rows []Row) (map[turn]float64, error) {
	values := map[turn]float64{}
	for _, r := range rows {
		v, ok := r.Figure(rep.Metric.Column)
		if !ok || v <= 0 {
			continue
		}
		t := turn{r.Round, r.Repeat}
		if _, twice := values[t]; twice {
			return nil, fmt.Errorf("%s, pass %d, is there twice in round %d", r.Case, r.Repeat, r.Round)
		}
		values[t] = v
	}
	return values, nil
}

func (rep *Report) better(a, b float64) bool {
	if rep.Metric.Better == "higher" {
		return a > b
	}
	return a < b
}

func turns(values map[turn]float64) []turn {
	var ts []turn
	for t := range values {
		ts = append(ts, t)
	}
	slices.SortFunc(ts, func(a, b turn) int { return cmp.Or(cmp.Compare(a.round, b.round), cmp.Compare(a.repeat, b.repeat)) })
	return ts
}

func median(xs []float64) float64 {
	if len(xs) == 0 {
		return math.NaN()
	}
	return benchmath.AssumeNothing.Summary(sample(xs), Confidence).Center
}

// sample copies the values, which benchmath sorts.
func sample(xs []float64) *benchmath.Sample {
	return benchmath.NewSample(slices.Clone(xs), &benchmath.DefaultThresholds)
}

// estimate returns the geometric mean of ratios and its interval.
func estimate(ratios []float64) Estimate {
	if len(ratios) == 0 {
		return Estimate{math.NaN(), 0, math.Inf(1)}
	}
	logs := make([]float64, len(ratios))
	for i, r := range ratios {
		logs[i] = math.Log(r)
	}
	s := benchmath.AssumeNormal.Summary(sample(logs), Confidence)
	return Estimate{math.Exp(s.Center), math.Exp(s.Lo), math.Exp(s.Hi)}
}

// contract returns the gravest verdict of a framework's rows. Lengths are
// compared here once more: a run of one framework knows of no other's answers.
func contract(rows, base []Row) results.Verdict {
	var c results.Contract
	for _, r := range rows {
		c.Add(results.Term{Name: "row", Verdict: r.Contract})
	}
	if v := results.CompareLengths(outputMedians(base), outputMedians(rows)); v == results.Broken {
		c.Add(results.Term{Name: results.TermLengths, Verdict: v})
	}
	return c.Verdict()
}

// outputMedians are the median lengths of the rows' answers, where they are known.
func outputMedians(rows []Row) []float64 {
	var all []float64
	for _, r := range rows {
		if r.OutputMedian > 0 {
			all = append(all, r.OutputMedian)
		}
	}
	return all
}

// Comparable reports whether the ratio is one of two sides that keep the contract.
func (c *Case) Comparable() bool {
	for _, s := range c.Sides {
		if (s.Framework == c.Best || s.Framework == c.Sides[0].Framework) && s.Contract == results.Broken {
			return false
		}
	}
	return true
}

// doubts are in notes of results.csv that make a pass doubtful.
var doubts = []string{"INVALID", "OTHER LENGTHS", "they repeat"}

// warn looks for what keeps the passes over a case from being comparable. Each
// thing is told once for a framework.
func (rep *Report) warn(sides map[string][]Row) {
	want := outputMedians(sides[rep.Base])
	prompt, least, most := 0.0, 0, 0 // of the first pass that has them, of the base if there is one
	for _, f := range append([]string{rep.Base}, rep.Peers...) {
		said := map[string]bool{}
		if have := outputMedians(sides[f]); results.CompareLengths(want, have) == results.Broken {
			rep.Warnings = append(rep.Warnings, Warning{sides[f][0].Case,
				fmt.Sprintf("the median answer has %g tokens, that of %s %g (contract broken)", median(have), rep.Base, median(want))})
		}
		for _, r := range sides[f] {
			say := func(format string, args ...any) {
				text := fmt.Sprintf(format, args...)
				kind, _, _ := strings.Cut(text, " ")
				if !said[kind] {
					said[kind] = true
					rep.Warnings = append(rep.Warnings, Warning{r.Case, text})
				}
			}
			if r.Failed > 0 {
				say("failed: %d of %d requests in round %d", r.Failed, r.Requests, r.Round)
			}
			for note := range strings.SplitSeq(r.Notes, "; ") {
				if term, broken := strings.CutPrefix(note, results.ContractNote+", "); broken {
					say("%s (round %d, contract broken)", term, r.Round)
				}
				if slices.ContainsFunc(doubts, func(d string) bool { return strings.Contains(note, d) }) {
					say("noted: %s (round %d)", note, r.Round)
				}
			}
			done := r.Requests - r.Failed
			if done == 0 || r.PromptTokens == 0 || r.OutputMax == 0 {
				continue
			}
			mean := float64(r.PromptTokens) / float64(done)
			if prompt == 0 {
				prompt, least, most = mean, r.OutputMin, r.OutputMax
			}
			if mean != prompt && fixedLengths(r.Case) {
				say("prompts of %g tokens, not %g", mean, prompt)
			}
			if (r.OutputMin != least || r.OutputMax != most) && fixedLengths(r.Case) {
				say("answers of %d to %d tokens, not %d to %d", r.OutputMin, r.OutputMax, least, most)
			}
		}
	}
}

// fixedLengths reports whether all requests of a case have the same lengths.
func fixedLengths(c results.Case) bool { return strings.HasPrefix(c.Task, "fixed-") }
