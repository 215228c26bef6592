package contract

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"servebench/benchtests/client"
	"servebench/datasets"
	"servebench/results"
)

// ProbeTokens is how long a probe's answer may be.
const ProbeTokens = 32

// probeTimeout bounds all requests of a probe together. A server that computes
// two tokens a second still ends in it.
const probeTimeout = 3 * time.Minute

// probeFailures is after how many failed requests in a row a probe is given up.
const probeFailures = 2

// probeTexts are the probe's prompts: openings of different kinds that a base
// model goes on with and an instruct model answers.
var probeTexts = []string{
	"The capital of France is",
	"Water boils at a lower temperature on a mountain because",
	"Here is a list of the months of the year in order:",
	"def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n",
	"Once upon a time, in a village by the sea, there lived an old clockmaker who",
	"Translate to German: The train leaves at nine o'clock in the morning.",
	"Question: If a box has 3 rows of 4 eggs, how many eggs are in it?\nAnswer:",
	"Dear Sir or Madam, I am writing to complain about",
	"{\"name\": \"Ada\", \"born\": 1815, \"languages\": [",
	"Café, naïve, 東京 and Ωmega are words that",
}

// ProbeSize is the number of a probe's prompts.
var ProbeSize = len(probeTexts)

// ProbePrompts returns the probe's prompts. They are in no measured set.
func ProbePrompts() []datasets.Prompt {
	prompts := make([]datasets.Prompt, len(probeTexts))
	for i, text := range probeTexts {
		prompts[i] = datasets.Prompt{
			ID: fmt.Sprintf("probe-%d", i+1), Dataset: "probe", Text: text, Seed: 1,
			Sampling: datasets.Sampling{TopP: 1, MaxTokens: ProbeTokens},
		}
	}
	return prompts
}

// ProbeOptions are what RunProbe works with.
type ProbeOptions struct {
	Client    *client.Client
	API       datasets.API
	Tokenizer datasets.Tokenizer
	// Call writes a prompt's request, for one JSON answer.
	Call func(datasets.Prompt) (client.Call, error)
	// Gone is closed when the server has died; nil: it cannot be seen.
	Gone <-chan struct{}
}

// RunProbe sends the probe's prompts one after the other. A request that fails
// is an answer with its class, from results.ErrorClasses; after two in a row, or
// once the server is gone or the time is up, none is sent any more. The error
// is that of the context, or of writing the requests.
func RunProbe(ctx context.Context, o ProbeOptions) (*results.Probe, error) {
	bounded, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	probe := &results.Probe{API: string(o.API), MaxTokens: ProbeTokens}
	failed, why := 0, ""
	for _, prompt := range ProbePrompts() {
		if failed == probeFailures {
			probe.Answers = append(probe.Answers, results.ProbeAnswer{
				Prompt: prompt.ID, Error: results.ClassCanceled, Detail: "not sent, " + why,
			})
			continue
		}
		call, err := o.Call(prompt)
		if err != nil {
			return nil, err
		}
		a := o.ask(bounded, prompt, call)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		probe.Answers = append(probe.Answers, a)
		switch {
		case a.Error == "":
			failed = 0
		case a.Error == results.ClassServerDied, bounded.Err() != nil:
			failed, why = probeFailures, "after "+a.Error
		default:
			failed, why = failed+1, fmt.Sprintf("after %d failures in a row", probeFailures)
		}
	}
	return probe, o.encode(ctx, probe)
}

// ask sends one prompt.
func (o *ProbeOptions) ask(ctx context.Context, prompt datasets.Prompt, call client.Call) results.ProbeAnswer {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-o.Gone: // never, of a nil channel
			cancel()
		case <-ctx.Done():
		}
	}()
	var r results.Request
	o.Client.Do(ctx, call).Decode(&r)
	a := results.ProbeAnswer{Prompt: prompt.ID, Text: r.Text, Finish: r.Finish, Error: r.Error, Detail: r.Detail}
	if a.Error != "" && o.isGone(a.Error == results.ClassConnect || a.Error == results.ClassStreamBroken) {
		a.Error = results.ClassServerDied
	}
	return a
}

// deathGrace is how long a process may take to be gone after its connections are.
const deathGrace = time.Second

// isGone reports whether the server is gone; one whose connection broke is waited for.
func (o *ProbeOptions) isGone(broken bool) bool {
	grace := time.Duration(0)
	if broken && o.Gone != nil {
		grace = deathGrace
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-o.Gone:
		return true
	case <-timer.C:
	}
	select {
	case <-o.Gone:
		return true
	default:
		return false
	}
}

// encode gives each answer the ids of its text.
func (o *ProbeOptions) encode(ctx context.Context, probe *results.Probe) error {
	var texts []string
	for _, a := range probe.Answers {
		texts = append(texts, a.Text)
	}
	ids, err := o.Tokenizer.Encode(ctx, texts, false)
	if err != nil {
		return fmt.Errorf("token ids of the probe's answers: %w", err)
	}
	for i := range probe.Answers {
		if probe.Answers[i].Error == "" {
			probe.Answers[i].IDs = ids[i]
		}
	}
	return nil
}

// Difference is where an answer parts from the reference's.
type Difference struct {
	Prompt  string
	At      int  // position of the first token that differs, from 0
	Stopped bool // one answer is the beginning of the other
}

// Comparison is two probes beside each other.
type Comparison struct {
	Compared    int // prompts that both answered
	Asked       int
	Differences []Difference // in the order of the prompts
}

// Compare compares the answers to the same prompts. Texts that are the same
// are so whatever their ids.
func Compare(ref, own *results.Probe) Comparison {
	c := Comparison{Asked: len(ref.Answers)}
	for _, want := range ref.Answers {
		i := slices.IndexFunc(own.Answers, func(a results.ProbeAnswer) bool { return a.Prompt == want.Prompt })
		if i < 0 || want.Error != "" || own.Answers[i].Error != "" {
			continue
		}
		got := own.Answers[i]
		c.Compared++
		if got.Text == want.Text {
			continue
		}
		n := min(len(got.IDs), len(want.IDs))
		at := 0
		for at < n && got.IDs[at] == want.IDs[at] {
			at++
		}
		c.Differences = append(c.Differences, Difference{
			Prompt: want.Prompt, At: at,
			Stopped: strings.HasPrefix(got.Text, want.Text) || strings.HasPrefix(want.Text, got.Text),
		})
	}
	return c
}

// immediate is the last position at which a difference is one from the start.
const immediate = 1

// Broken reports whether most answers differ from their start.
func (c *Comparison) Broken() bool {
	n := 0
	for _, d := range c.Differences {
		if d.At <= immediate && !d.Stopped {
			n++
		}
	}
	return 2*n > c.Compared
}

// first returns the difference at the least position.
func (c *Comparison) first() Difference {
	return slices.MinFunc(c.Differences, func(a, b Difference) int { return a.At - b.At })
}

// Term is the term that two probes make.
func (c *Comparison) Term() results.Term {
	t := results.Term{Name: results.TermProbe}
	equal := c.Compared - len(c.Differences)
	switch {
	case c.Compared == 0:
		t.Verdict, t.Detail = results.Unknown, fmt.Sprintf("none of %d prompts was answered by both", c.Asked)
		return t
	case 2*c.Compared < c.Asked:
		t.Verdict = results.Unknown
	case len(c.Differences) == 0:
		t.Verdict = results.Kept
	case c.Broken():
		t.Verdict = results.Broken
	default:
		t.Verdict = results.Noted
	}
	t.Detail = fmt.Sprintf("%d of %d equal", equal, c.Compared)
	if c.Compared < c.Asked {
		t.Detail += fmt.Sprintf(" (%d were not answered by both)", c.Asked-c.Compared)
	}
	if len(c.Differences) > 0 {
		d := c.first()
		t.Detail += fmt.Sprintf(", first difference at token %d (%s)", d.At, d.Prompt)
	}
	if t.Verdict == results.Broken {
		t.Detail += ": most answers differ from their first or second token on, as with another template or other weights"
	}
	return t
}
