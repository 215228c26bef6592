package contract

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"servebench/benchtests/contract/tensors"
	"servebench/results"
)

// Side is a framework with a model, as far as it is known.
type Side struct {
	Server  results.Server
	Checked results.Checked
}

// Between returns the terms that two frameworks' servers keep between each
// other, and what is wrong with own by itself. A nil ref is none: own is what
// others are compared with.
func Between(ctx context.Context, ref, own *Side) []results.Term {
	var c results.Contract
	if t := dtypeAsAsked(&own.Checked.Dtype); t.Verdict == results.Broken {
		c.Add(t)
	}
	if ref == nil {
		return c.Terms
	}
	c.Add(SameWeights(ctx, &ref.Server, &own.Server))
	c.Add(sameDtype(&ref.Checked.Dtype, &own.Checked.Dtype))
	if ref.Checked.Probe == nil || own.Checked.Probe == nil {
		c.Add(results.Term{Name: results.TermProbe, Verdict: results.Unknown, Detail: "the probe was not sent"})
		return c.Terms
	}
	probes := Compare(ref.Checked.Probe, own.Checked.Probe)
	c.Add(probes.Term())
	return c.Terms
}

// SameWeights says whether two servers have the same weights: the same files,
// or files with the same values.
func SameWeights(ctx context.Context, ref, own *results.Server) results.Term {
	say := func(v results.Verdict, format string, args ...any) results.Term {
		return results.Term{Name: results.TermWeights, Verdict: v, Detail: fmt.Sprintf(format, args...)}
	}
	for _, s := range []*results.Server{ref, own} {
		if s.URL != "" {
			return say(results.Unknown, "%s runs elsewhere: what it loaded is not known", s.Framework)
		}
	}
	switch {
	case ref.Dummy && own.Dummy && ref.Framework == own.Framework && ref.Seed == own.Seed:
		return say(results.Kept, "the same random numbers")
	case ref.Dummy && own.Dummy:
		return say(results.Noted, "both have random weights, each of its own")
	case ref.Dummy != own.Dummy:
		return say(results.Broken, "one has random weights, the other has not")
	case ref.Weights.SHA256 == "" || own.Weights.SHA256 == "":
		return say(results.Unknown, "the hash of the weights is not known")
	case ref.Weights.SHA256 == own.Weights.SHA256:
		return say(results.Kept, "the same files")
	}
	left, err := digested(ctx, ref)
	if err == nil {
		var right *tensors.Weights
		if right, err = digested(ctx, own); err == nil {
			c := tensors.Compare(left, right)
			if c.Same() {
				return say(results.Kept, "other files with the same values: %s", &c)
			}
			return say(results.Broken, "other files with other values: %s", &c)
		}
	}
	return say(results.Unknown, "other files, which could not be compared: %v", err)
}

// digested reads a server's weights, if they still are what it loaded.
func digested(ctx context.Context, s *results.Server) (*tensors.Weights, error) {
	now, err := results.DigestWeights(s.Path)
	if err != nil {
		return nil, err
	}
	if now.SHA256 != s.Weights.SHA256 {
		return nil, fmt.Errorf("%s is not what %s loaded any more", s.Path, s.Framework)
	}
	w, err := tensors.Open(s.Path)
	if err != nil {
		return nil, err
	}
	return w, w.Digest(ctx)
}

// auto is the dtype of a framework that takes the file's.
const auto = "auto"

// dtypeNames are what files and servers call the types.
var dtypeNames = map[string]string{
	"bf16": "bfloat16", "f16": "float16", "fp16": "float16", "half": "float16", "f32": "float32", "fp32": "float32", "float": "float32",
}

// plainDtype returns the suite's name of a type.
func plainDtype(name string) string {
	name = strings.TrimPrefix(strings.ToLower(strings.TrimSpace(name)), "torch.")
	if known, ok := dtypeNames[name]; ok {
		return known
	}
	return name
}

// effective is the type that weights are in, "" if it is not known.
func effective(d *results.Dtype) string {
	asked := plainDtype(d.Asked)
	if asked == auto {
		asked = ""
	}
	for _, name := range []string{d.Reported, asked, d.File} {
		if name != "" {
			return plainDtype(name)
		}
	}
	return ""
}

// dtypeAsAsked is broken if a server says that it has another type than it was
// asked for.
func dtypeAsAsked(d *results.Dtype) results.Term {
	t := results.Term{Name: results.TermDtype, Verdict: results.Kept}
	if asked := plainDtype(d.Asked); asked != "" && asked != auto && d.Reported != "" && asked != plainDtype(d.Reported) {
		t.Verdict, t.Detail = results.Broken, fmt.Sprintf("asked for %s, the server has %s", asked, plainDtype(d.Reported))
	}
	return t
}

func sameDtype(ref, own *results.Dtype) results.Term {
	t := results.Term{Name: results.TermDtype}
	want, have := effective(ref), effective(own)
	switch {
	case want == "" || have == "":
		t.Verdict, t.Detail = results.Unknown, "a server that runs elsewhere does not say"
	case want == have:
		t.Verdict, t.Detail = results.Kept, have
	default:
		t.Verdict, t.Detail = results.Broken, fmt.Sprintf("%s, not %s", have, want)
	}
	return t
}

// FileDtype returns the type of most values of local weights, "" if it cannot
// be read.
func FileDtype(path string) string {
	if _, err := os.Stat(path); err != nil {
		return "" // a hub id
	}
	w, err := tensors.Open(path)
	if err != nil {
		return ""
	}
	return string(w.Dtype())
}

// Bounds of the question about a server's type.
const (
	askTimeout = 30 * time.Second
	maxAnswer  = 1 << 20
)

// ReportedDtype asks a server what its weights are stored in, "" if it does not
// say. llama.cpp does, in its list of models.
func ReportedDtype(ctx context.Context, s Server) string {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(s.URL, "/")+"/v1/models", nil)
	if err != nil {
		return ""
	}
	client := s.Client
	if client == nil {
		client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy
	}
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil || resp.StatusCode != http.StatusOK {
		return ""
	}
	return parseDtype(text, s.Served)
}

// maxDtype bounds a type's name, which goes into rows.
const maxDtype = 40

// parseDtype reads the type of a model out of a list of models.
func parseDtype(text []byte, served string) string {
	var list struct {
		Data []struct {
			ID   string `json:"id"`
			Meta struct {
				Ftype string `json:"ftype"`
			} `json:"meta"`
		} `json:"data"`
	}
	if json.Unmarshal(text, &list) != nil {
		return ""
	}
	for _, m := range list.Data {
		name := strings.ToValidUTF8(m.Meta.Ftype, "")
		if (m.ID == served || len(list.Data) == 1) && len(name) <= maxDtype {
			return strings.Join(strings.Fields(name), " ")
		}
	}
	return ""
}

// Judge puts together what a pass has to say about the contract: what was
// checked before it, the prompts of its own task, and its answers. measured
// are the passes of the reference over the same case; refName is "" for the
// reference itself.
func Judge(checked *results.Checked, own *results.Summary, measured []*results.Summary) results.Contract {
	c := results.Contract{Reference: checked.Reference}
	for i := range checked.Prompts {
		if checked.Prompts[i].Task == own.Case.Task {
			c.Add(PromptTerm(&checked.Prompts[i]))
		}
	}
	if own.PromptMismatch > 0 {
		c.Add(results.Term{Name: results.TermPrompts, Verdict: results.Broken,
			Detail: fmt.Sprintf("%d of %d measured prompts were counted otherwise by the server", own.PromptMismatch, own.Requests-own.Failed)})
	}
	for _, t := range checked.Terms {
		c.Add(t)
	}
	if checked.Reference != "" {
		c.Add(LengthTerm(own, measured))
	}
	return c
}
