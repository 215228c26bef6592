package contract

import (
	"fmt"

	"servebench/results"
)

// LengthTerm compares the lengths of a pass's answers with those of the
// reference's passes over the same case. Without any there is nothing to compare.
func LengthTerm(own *results.Summary, ref []*results.Summary) results.Term {
	if len(ref) == 0 {
		return results.Term{}
	}
	t := results.Term{Name: results.TermLengths}
	var want []float64
	for _, s := range ref {
		want = append(want, s.Lengths()...)
	}
	t.Verdict = results.CompareLengths(want, own.Lengths())
	switch t.Verdict {
	case results.Unknown:
		t.Detail = "the number of output tokens is not known"
	case results.Broken, results.Noted:
		t.Detail = fmt.Sprintf("the median answer has %g tokens, the reference's %g: more than %.0f%% apart, %d of %d reach max_tokens",
			own.OutputMedian, results.Median(want), results.LengthTolerance*100, own.AtMaxTokens, len(own.Lengths()))
	}
	if t.Verdict == results.Noted {
		t.Detail += ", which may be chance in so few"
	}
	return t
}
