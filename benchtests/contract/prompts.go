package contract

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"servebench/datasets"
	"servebench/results"
)

// SampleSize is the most prompts of a task that a server is asked about.
const SampleSize = 32

// around is how many ids before and after a difference are kept.
const around = 4

// Encoder is a target that can ask its server which ids it makes of a text,
// special tokens included. errors.ErrUnsupported says that the server has no
// such route.
type Encoder interface {
	TokenizeText(ctx context.Context, client *http.Client, baseURL, model, text string) ([]int, error)
}

// Server is where a framework's server is, and what it calls the model.
type Server struct {
	Client *http.Client
	URL    string
	Served string
}

// PromptOptions are what CheckPrompts works with.
type PromptOptions struct {
	Server
	Encoder   Encoder // nil: there is none
	Tokenizer datasets.Tokenizer
	Task      datasets.Task
	API       datasets.API
	Prompts   []datasets.Prompt // measured
	// Warmed are the answers to the warm-up prompts, whose usage counts stand in.
	Warmed []results.Request
}

// CheckPrompts says whether the server reads a task's prompts as the suite's
// tokenizer does. What cannot be found out is a finding, not an error.
func CheckPrompts(ctx context.Context, o PromptOptions) results.PromptCheck {
	check := results.PromptCheck{Task: string(o.Task), Finding: results.IDsNotLooked}
	byID, err := o.ids(ctx, &check)
	if err != nil {
		check.Detail = err.Error()
	}
	if check.Finding == results.IDsDiffer || byID && o.API == datasets.CompletionAPI {
		return check
	}
	// Without a route, or where a template stands around the text, counts tell.
	o.counts(&check, byID)
	return check
}

// Sample returns at most SampleSize of n places, evenly spaced, and says which.
func Sample(n int) ([]int, string) {
	if n <= SampleSize {
		all := make([]int, n)
		for i := range all {
			all[i] = i
		}
		return all, fmt.Sprintf("all %d prompts", n)
	}
	places := make([]int, SampleSize)
	for i := range places {
		places[i] = i * n / SampleSize
	}
	return places, fmt.Sprintf("%d of %d prompts, number i·%d/%d for i from 0", SampleSize, n, n, SampleSize)
}

// ids asks the server for ids and compares them; false if it has none to give.
func (o *PromptOptions) ids(ctx context.Context, check *results.PromptCheck) (bool, error) {
	if o.Encoder == nil || len(o.Prompts) == 0 {
		return false, errors.New("the server cannot be asked for token ids")
	}
	places, sample := Sample(len(o.Prompts))
	texts := make([]string, len(places))
	for i, p := range places {
		texts[i] = o.Prompts[p].Text
	}
	want, err := o.Tokenizer.Encode(ctx, texts, true)
	if err != nil {
		return false, err
	}
	check.Route, check.Sample = "tokenize", sample
	for i, p := range places {
		got, err := o.Encoder.TokenizeText(ctx, o.Client, o.URL, o.Served, texts[i])
		if errors.Is(err, errors.ErrUnsupported) {
			check.Route, check.Sample, check.Checked = "", "", 0
			return false, errors.New("the server cannot be asked for token ids")
		}
		if err != nil {
			return false, fmt.Errorf("token ids of prompt %s: %w", o.Prompts[p].ID, err)
		}
		check.Checked++
		if d := difference(want[i], got); d != nil {
			d.Prompt = o.Prompts[p].ID
			check.Finding, check.First = results.IDsDiffer, d
			check.Detail = d.String()
			return true, nil
		}
	}
	check.Finding = results.IDsEqual
	return true, nil
}

// difference returns where ids part, nil if they are the same.
func difference(want []int32, got []int) *results.IDDifference {
	mine := make([]int32, len(got))
	for i, id := range got {
		if id < 0 || id > 1<<31-1 {
			id = -1 // no token's
		}
		mine[i] = int32(id)
	}
	if slices.Equal(want, mine) {
		return nil
	}
	at := 0
	for at < len(want) && at < len(mine) && want[at] == mine[at] {
		at++
	}
	cut := func(ids []int32) []int32 {
		return slices.Clone(ids[min(len(ids), max(0, at-around)):min(len(ids), at+around+1)])
	}
	return &results.IDDifference{At: at, Want: cut(want), Got: cut(mine), WantN: len(want), GotN: len(mine)}
}

// counts compares the tokens that the server counted of the warm-up prompts.
func (o *PromptOptions) counts(check *results.PromptCheck, idsEqual bool) {
	looked := 0
	for i := range o.Warmed {
		r := &o.Warmed[i]
		if r.Error != "" || r.PromptTokens == 0 || r.PreparedTokens == 0 {
			continue
		}
		looked++
		if r.PromptTokens == r.PreparedTokens {
			continue
		}
		check.Finding, check.Route = results.IDsDiffer, "usage"
		check.First = &results.IDDifference{Prompt: r.Prompt, At: -1, WantN: r.PreparedTokens, GotN: r.PromptTokens}
		check.Detail = check.First.String()
		return
	}
	switch {
	case looked == 0 && idsEqual:
		check.Detail = "the texts' ids are equal; what the chat template adds is not known, as the server counts nothing"
		check.Finding = results.IDsNotLooked
	case looked == 0:
		check.Detail = joinReasons(check.Detail, "no answer to a warm-up prompt has a count of its prompt")
	case idsEqual:
		check.Finding, check.Route = results.CountsEqual, "tokenize and usage"
		check.Detail = fmt.Sprintf("the texts' ids are equal, and with the chat template around them so are the counts of %d warm-up prompts", looked)
	default:
		check.Finding, check.Route = results.CountsEqual, "usage"
		check.Sample, check.Checked = "the warm-up prompts", looked
	}
}

func joinReasons(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}

// PromptTerm is the term that a finding makes.
func PromptTerm(c *results.PromptCheck) results.Term {
	t := results.Term{Name: results.TermPrompts}
	switch c.Finding {
	case results.IDsEqual, results.CountsEqual:
		t.Verdict = results.Kept
	case results.IDsDiffer:
		t.Verdict = results.Broken
	default:
		t.Verdict = results.Unknown
	}
	t.Detail = c.Finding
	if c.Sample != "" {
		t.Detail += " (" + c.Sample + ")"
	}
	if c.Detail != "" {
		t.Detail += ": " + c.Detail
	}
	return t
}
