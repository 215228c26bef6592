package results

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/aclements/go-moremath/stats"
)

// Verdict says whether a term of the contract between frameworks was kept. ""
// says that nobody looked.
type Verdict string

// The verdicts.
const (
	Kept    Verdict = "kept"
	Noted   Verdict = "noted"   // differs in a way that correct implementations may: for information
	Unknown Verdict = "unknown" // could not be found out
	Broken  Verdict = "broken"  // the figures are not comparable with the reference's
)

// The terms of the contract.
const (
	TermPrompts = "prompts" // the model is fed the same token ids
	TermWeights = "weights" // the model is the same
	TermDtype   = "dtype"   // it computes in the same type
	TermLengths = "lengths" // the answers are as long
	TermProbe   = "probe"   // greedy answers to fixed prompts are the same
)

// Term is what was found out about a term.
type Term struct {
	Name    string  `json:"name"`
	Verdict Verdict `json:"verdict"`
	Detail  string  `json:"detail,omitempty"`
}

// Contract is what a pass has to keep so that its figures may stand beside
// those of another framework.
type Contract struct {
	// Reference is the framework that the pass is compared with; "" if the pass
	// is of the reference itself, or there is none.
	Reference string `json:"reference,omitempty"`
	Terms     []Term `json:"terms,omitempty"`
}

// Add adds a term. Of two with one name the graver one stays.
func (c *Contract) Add(t Term) {
	if t.Verdict == "" {
		return
	}
	for i := range c.Terms {
		old := &c.Terms[i]
		if old.Name != t.Name {
			continue
		}
		if gravity(t.Verdict) > gravity(old.Verdict) {
			*old = t
		}
		return
	}
	c.Terms = append(c.Terms, t)
}

// gravity orders verdicts.
func gravity(v Verdict) int { return slices.Index([]Verdict{"", Kept, Noted, Unknown, Broken}, v) }

// Verdict returns the gravest verdict of all terms; a difference that correct
// implementations may have keeps the contract. "" if nothing was looked at.
func (c *Contract) Verdict() Verdict {
	v := Verdict("")
	for _, t := range c.Terms {
		is := t.Verdict
		if is == Noted {
			is = Kept
		}
		if gravity(is) > gravity(v) {
			v = is
		}
	}
	return v
}

// Of returns the terms with a verdict.
func (c *Contract) Of(v Verdict) []Term {
	var out []Term
	for _, t := range c.Terms {
		if t.Verdict == v {
			out = append(out, t)
		}
	}
	return out
}

// String returns the terms as results.csv has them: "prompts:kept probe:noted".
func (c *Contract) String() string {
	var parts []string
	for _, t := range c.Terms {
		parts = append(parts, t.Name+":"+string(t.Verdict))
	}
	return strings.Join(parts, " ")
}

// ContractNote begins the notes of a pass that broke the contract.
const ContractNote = "CONTRACT BROKEN"

// Notes returns a sentence for each broken term.
func (c *Contract) Notes() []string {
	var notes []string
	for _, t := range c.Of(Broken) {
		against := ""
		if c.Reference != "" {
			against = ", beside " + c.Reference
		}
		notes = append(notes, fmt.Sprintf("%s, %s%s: %s", ContractNote, t.Name, against, t.Detail))
	}
	return notes
}

// How far apart the median lengths of two frameworks' answers may be: the
// greater of a share of the reference's and of a number of tokens.
const (
	LengthTolerance = 0.10
	lengthTokens    = 2
	// lengthChance is the p of the Mann-Whitney U test from which on a difference
	// of sampled answers is taken for chance. Four answers a side can be below it.
	lengthChance = 0.05
)

// CompareLengths compares the lengths of two frameworks' answers: Broken if
// their medians are further apart than may be, and that is no chance; Noted if it
// may be chance; Unknown if one has none.
func CompareLengths(ref, own []float64) Verdict {
	if len(ref) == 0 || len(own) == 0 {
		return Unknown
	}
	want, have := Median(ref), Median(own)
	if math.Abs(have-want) <= math.Max(lengthTokens, LengthTolerance*want) {
		return Kept
	}
	if slices.Min(ref) == slices.Max(ref) && slices.Min(own) == slices.Max(own) {
		return Broken // set lengths: there is no chance in them
	}
	test, err := stats.MannWhitneyUTest(ref, own, stats.LocationDiffers)
	if err != nil || test.P >= lengthChance {
		return Noted
	}
	return Broken
}

// Median returns the median of a list that is not empty, as all percentiles here.
func Median(xs []float64) float64 {
	m, _ := (&sample{xs: slices.Clone(xs)}).quantile(0.5)
	return m
}

// The findings about prompts.
const (
	IDsEqual     = "ids equal"    // the server's ids are those of the suite's tokenizer
	CountsEqual  = "counts equal" // as many tokens are counted
	IDsDiffer    = "differs"
	IDsNotLooked = "unknown"
)

// Checked is what was found out about a framework with a model before anything
// was measured on it: an element of contract.json.
type Checked struct {
	Framework string        `json:"framework"`
	Model     string        `json:"model"`
	Dtype     Dtype         `json:"dtype,omitzero"`
	Prompts   []PromptCheck `json:"prompts,omitempty"` // by task
	Probe     *Probe        `json:"probe,omitempty"`
	Terms     []Term        `json:"terms,omitempty"` // against Reference: weights, dtype, probe
	Reference string        `json:"reference,omitempty"`
}

// Dtype is the type of weights and KV cache.
type Dtype struct {
	Asked    string `json:"asked,omitempty"`
	Reported string `json:"reported,omitempty"` // by the server; "" if it does not say
	File     string `json:"file,omitempty"`     // of most values in the weights' files
}

// PromptCheck says whether a server reads a task's prompts as the suite does.
type PromptCheck struct {
	Task    string `json:"task"`
	Finding string `json:"finding"` // IDsEqual, CountsEqual, IDsDiffer or IDsNotLooked
	Route   string `json:"route"`   // how it was asked: "tokenize", "usage"
	// Sample says which of the prompts were looked at.
	Sample  string `json:"sample"`
	Checked int    `json:"checked"`
	Detail  string `json:"detail,omitempty"`
	// First is the first difference, nil if there is none.
	First *IDDifference `json:"first,omitempty"`
}

// IDDifference is where two sequences of token ids part.
type IDDifference struct {
	Prompt string  `json:"prompt"`
	At     int     `json:"at"`               // position of the first id that differs, from 0; -1 where only counts are known
	Want   []int32 `json:"want,omitempty"`   // ids around it, of the suite's tokenizer
	Got    []int32 `json:"got,omitempty"`    // ids around it, of the server
	WantN  int     `json:"want_n,omitempty"` // tokens in all
	GotN   int     `json:"got_n,omitempty"`
}

// String says it in a sentence.
func (d *IDDifference) String() string {
	if d.At < 0 {
		return fmt.Sprintf("prompt %s has %d tokens, the server counts %d", d.Prompt, d.WantN, d.GotN)
	}
	return fmt.Sprintf("prompt %s differs from token %d on: want …%v… of %d, the server has …%v… of %d",
		d.Prompt, d.At, d.Want, d.WantN, d.Got, d.GotN)
}

// Probe is the greedy answers of a server to fixed prompts.
type Probe struct {
	API       string        `json:"api"`
	MaxTokens int           `json:"max_tokens"`
	Answers   []ProbeAnswer `json:"answers"`
}

// ProbeAnswer is one of them.
type ProbeAnswer struct {
	Prompt string  `json:"prompt"`
	Text   string  `json:"text,omitempty"`
	IDs    []int32 `json:"ids,omitempty"` // of the text, with the suite's tokenizer
	Finish string  `json:"finish,omitempty"`
	Error  string  `json:"error,omitempty"` // one of ErrorClasses
	Detail string  `json:"detail,omitempty"`
}

// contractFile is contract.json.
type contractFile struct {
	Format  int       `json:"format"`
	Checked []Checked `json:"checked"`
}

// readContract reads contract.json; a run that nobody checked has none.
func readContract(dir string) ([]Checked, error) {
	name := filepath.Join(dir, FileContract)
	data, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("run folder: %w", err)
	}
	var f contractFile
	if err := json.Unmarshal(data, &f); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if f.Format != format {
		return nil, fmt.Errorf("%s: its format is %d, this program knows %d", name, f.Format, format)
	}
	return f.Checked, nil
}

// Checked reads what was checked before the run's cases were measured; nil in
// a run that was made before there were such checks.
func (f *Folder) Checked() ([]Checked, error) { return readContract(f.dir) }

// SetChecked writes what was checked for a framework with a model into
// contract.json, in place of what was there for them.
func (r *Run) SetChecked(c Checked) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.checked, func(o Checked) bool { return o.Framework == c.Framework && o.Model == c.Model })
	if i < 0 {
		r.checked = append(r.checked, c)
	} else {
		r.checked[i] = c
	}
	// A line each: token ids in thousands of lines are nothing to read.
	var b bytes.Buffer
	fmt.Fprintf(&b, "{\"format\":%d,\"checked\":[\n", format)
	for i := range r.checked {
		if i > 0 {
			b.WriteString(",")
		}
		if err := encodeLine(&b, &r.checked[i]); err != nil {
			return fmt.Errorf("%s: %w", FileContract, err)
		}
	}
	b.WriteString("]}\n")
	if err := writeFile(r.path(FileContract), b.Bytes()); err != nil {
		return fmt.Errorf("run folder: %w", err)
	}
	return nil
}

// Checked returns what was checked in this run, by this process or one before it.
func (r *Run) Checked() []Checked {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.checked)
}
