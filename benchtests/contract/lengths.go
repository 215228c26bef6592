package contract

import (
	"fmt"

	"servebench/results"
)

// LengthTerm compares the lengths of a pass's answers with those of the
// reference's passes over the same case. Without any there is nothing to compare.
func LengthTerm(own *results.Summary, ref []*results.Summary) results.Term {
	t := results.Term{Name: results.TermLengths}
	if len(ref) == 0 {
		return results.Term{}
	}
	if own.OutputMedian == 0 {
		t.Verdict, t.Detail = results.Unknown, "the number of output tokens is not known"
		return t
	}
	want, passes := 0.0, 0
	for _, s := range ref {
		if s.OutputMedian > 0 {
			want, passes = want+s.OutputMedian, passes+1
		}
	}
	if passes == 0 {
		t.Verdict, t.Detail = results.Unknown, "the reference has no pass over the case whose lengths are known"
		return t
	}
	want /= float64(passes)
	t.Verdict = results.Kept
	if results.LengthsDiffer(want, own.OutputMedian) {
		t.Verdict = results.Broken
		t.Detail = fmt.Sprintf("the median answer has %g tokens, the reference's %g: more than %.0f%% apart; %d of %d reach max_tokens",
			own.OutputMedian, want, results.LengthTolerance*100, own.AtMaxTokens, own.Requests-own.Failed)
	}
	return t
}
