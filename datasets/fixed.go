package datasets

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
)

// Fixed is a task whose prompts and answers have set lengths in the target
// model's tokens: for what depends on lengths alone. Its name as a Task says
// them: fixed-in21-out64, fixed-prefix400-in21-out64.
//
// A prompt is running text on the completion route, as every server takes it,
// and has the very number of tokens that a server should report.
type Fixed struct {
	Prefix int // tokens that all prompts of a draw begin with; 0 is none
	Input  int // tokens of each prompt behind them
	Output int // tokens of each answer
}

// Bounds of a Fixed.
const (
	// MinInput leaves room for an opening that differs and for a passage that
	// can be cut to length.
	MinInput = 8
	maxFixed = 1 << 20
)

const fixedPrefix = "fixed-"

// Task returns the task's name.
func (f Fixed) Task() Task {
	if f.Prefix > 0 {
		return Task(fmt.Sprintf(fixedPrefix+"prefix%d-in%d-out%d", f.Prefix, f.Input, f.Output))
	}
	return Task(fmt.Sprintf(fixedPrefix+"in%d-out%d", f.Input, f.Output))
}

// Check returns what is wrong with the lengths, if anything.
func (f Fixed) Check() error {
	switch {
	case f.Prefix < 0 || f.Prefix > maxFixed:
		return fmt.Errorf("a shared prefix of %d tokens: it must be 0 to %d", f.Prefix, maxFixed)
	case f.Input < MinInput || f.Input > maxFixed:
		return fmt.Errorf("prompts of %d tokens: it must be %d to %d, so that prompts can differ", f.Input, MinInput, maxFixed)
	case f.Output < 1 || f.Output > maxFixed:
		return fmt.Errorf("answers of %d tokens: it must be 1 to %d", f.Output, maxFixed)
	}
	return nil
}

// Fixed returns the lengths of a task that has set ones, and whether it has.
func (t Task) Fixed() (Fixed, bool) {
	var f Fixed
	for _, form := range []struct {
		format string
		fields []any
	}{
		{fixedPrefix + "prefix%d-in%d-out%d", []any{&f.Prefix, &f.Input, &f.Output}},
		{fixedPrefix + "in%d-out%d", []any{&f.Input, &f.Output}},
	} {
		f = Fixed{}
		if _, err := fmt.Sscanf(string(t), form.format, form.fields...); err == nil && f.Task() == t && f.Check() == nil {
			return f, true
		}
	}
	return Fixed{}, false
}

// FixedOptions say what DrawFixed draws.
type FixedOptions struct {
	Seed uint64
	// Key names what the prompts are for. Equal keys give equal prompts; those
	// of two keys share neither prefix nor opening, so that a server that has
	// seen the ones has not seen the others.
	Key string
	N   int // prompts
}

// openingWords begin a prompt. They are drawn apart from the passage that
// follows, and no two prompts of a draw have them from the same place: prompts
// of two draws begin alike for this many words at most, unless both places
// coincide. No server's cache keeps so little.
const openingWords = 3

// fixedTries is how often a passage is drawn anew that cannot be cut to the
// length: where words are of one or two tokens, every third or fourth cannot.
const fixedTries = 200

const fixedRule = "a prompt is an opening of three words and a passage, each from a random place in the articles, " +
	"cut between words where it has exactly the tokens asked for, special tokens counted in; with a prefix, a passage that all prompts share stands before it. " +
	"Sampling is greedy."

// DrawFixed draws prompts of set lengths from the texts of a source's rows. The
// same source, lengths and options give the same prompts with every tokenizer
// that counts alike.
func DrawFixed(ctx context.Context, src *Source, model Model, tok Tokenizer, f Fixed, o FixedOptions) (*Set, error) {
	if err := f.Check(); err != nil {
		return nil, err
	}
	d := fixedDraw{ctx: ctx, tok: tok, rng: rand.New(rand.NewChaCha8(sha256.Sum256(
		fmt.Appendf(nil, "fixed\x00%d\x00%s\x00%s", o.Seed, f.Task(), o.Key))))}
	for row, err := range src.Rows() {
		if err != nil {
			return nil, err
		}
		if row.Drop == "" {
			d.words = append(d.words, strings.Fields(row.Text)...)
			d.rows++
		}
	}
	if len(d.words) < max(o.N, f.Prefix+f.Input) {
		return nil, fmt.Errorf("the rows of %s have %d words: too few for %d prompts of %d tokens", src.Dataset.Name, len(d.words), o.N, f.Prefix+f.Input)
	}
	texts, err := d.texts(f, o.N)
	if err != nil {
		return nil, fmt.Errorf("drawing %s: %w", f.Task(), err)
	}
	prompts, err := d.prompts(texts, src.Dataset.Name, model, f)
	if err != nil {
		return nil, fmt.Errorf("drawing %s: %w", f.Task(), err)
	}
	total := f.Prefix + f.Input
	return &Set{Prompts: prompts, Header: Header{
		Format: FormatName, Version: FormatVersion,
		Dataset: src.Dataset.Name, Hub: src.Dataset.Hub, Config: src.Dataset.Config, Split: src.Split, Task: f.Task(),
		Model: model.Name, ModelHub: model.Hub, Tokenizer: model.Hub,
		Rule: fixedRule, Window: Window{total, total}, OutputWindow: Window{f.Output, f.Output},
		OutputRule: "every answer is to have this many tokens: the end of sequence is ignored where the server can",
		Sampling:   model.Sampling(f.Task()), Seed: o.Seed,
		Sources: src.Files, Rows: Rows{Read: d.rows, Dropped: map[string]int{}, Kept: d.rows, Drawn: len(prompts)},
		PromptsSHA256: hashPrompts(prompts),
	}}, nil
}

// fixedDraw is one run of DrawFixed.
type fixedDraw struct {
	ctx   context.Context
	tok   Tokenizer
	rng   *rand.Rand
	words []string // of all rows, one after the other
	rows  int
}

// texts draws n texts of f.Prefix + f.Input tokens that begin with the same f.Prefix.
func (d *fixedDraw) texts(f Fixed, n int) ([]string, error) {
	var prefix string
	if f.Prefix > 0 {
		var err error
		if prefix, err = d.exactly("", f.Prefix); err != nil {
			return nil, err
		}
	}
	var texts []string
	for _, place := range d.rng.Perm(len(d.words)) {
		if len(texts) == n {
			break
		}
		text, err := d.exactly(join(prefix, d.passage(place, openingWords)), f.Prefix+f.Input)
		if errors.Is(err, errNoRoom) {
			continue // long words; the next place
		}
		if err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	if len(texts) < n {
		return nil, fmt.Errorf("only %d of %d prompts could be drawn", len(texts), n)
	}
	return texts, nil
}

// errNoRoom is returned by exactly when the head alone is too long.
var errNoRoom = errors.New("no room behind the opening")

func join(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}

// passage returns n words from a place on; behind the last comes the first.
func (d *fixedDraw) passage(place, n int) string {
	words := make([]string, n)
	for i := range words {
		words[i] = d.words[(place+i)%len(d.words)]
	}
	return strings.Join(words, " ")
}

// exactly draws a passage behind head such that both have the tokens wanted.
func (d *fixedDraw) exactly(head string, tokens int) (string, error) {
	if n, err := d.tok.Count(d.ctx, []string{head}, true); err != nil {
		return "", err
	} else if n[0] >= tokens {
		return "", errNoRoom
	}
	for range fixedTries {
		place := d.rng.IntN(len(d.words))
		// A word is a token or more, so this many are enough, and one word more
		// never makes fewer tokens. The last cut that is not too long:
		text, have := head, 0
		low, high := 0, tokens+1 // low words fit, high do not
		for low+1 < high {
			words := (low + high) / 2
			longer := join(head, d.passage(place, words))
			n, err := d.tok.Count(d.ctx, []string{longer}, true)
			if err != nil {
				return "", err
			}
			if n[0] > tokens {
				high = words
				continue
			}
			low, have, text = words, n[0], longer
		}
		if have == tokens {
			return text, nil
		}
	}
	return "", fmt.Errorf("no passage of exactly %d tokens in %d tries", tokens, fixedTries)
}

// prompts makes prompts of the texts, once it has held that they are what they
// are said to be: each has its tokens, all begin with the prefix, no two are the same.
func (d *fixedDraw) prompts(texts []string, dataset string, model Model, f Fixed) ([]Prompt, error) {
	fed, err := d.tok.Encode(d.ctx, texts, true)
	if err != nil {
		return nil, err
	}
	bare, err := d.tok.Count(d.ctx, texts, false)
	if err != nil {
		return nil, err
	}
	out := make([]Prompt, len(texts))
	for i, text := range texts {
		if len(fed[i]) != f.Prefix+f.Input {
			return nil, fmt.Errorf("prompt %d has %d tokens, not %d", i, len(fed[i]), f.Prefix+f.Input)
		}
		if !slices.Equal(fed[i][:f.Prefix], fed[0][:f.Prefix]) {
			return nil, fmt.Errorf("prompts 0 and %d do not begin with the same %d tokens: this tokenizer joins words", i, f.Prefix)
		}
		out[i] = Prompt{
			ID: fmt.Sprintf("%s-%03d", f.Task(), i), Dataset: dataset, Task: f.Task(), Text: text,
			Tokens:   Tokens{Text: bare[i], Completion: len(fed[i])},
			Sampling: model.Sampling(f.Task()),
			Seed:     int64(d.rng.Uint32() >> 1),
		}
	}
	slices.SortFunc(fed, slices.Compare)
	for i := 1; i < len(fed); i++ {
		if slices.Equal(fed[i-1], fed[i]) {
			return nil, fmt.Errorf("two prompts are the same: %d are too many for so few texts", len(fed))
		}
	}
	return out, nil
}

// sampling is how the task samples: greedily, cut at its output.
func (f Fixed) sampling() Sampling { return Sampling{TopP: 1, MaxTokens: f.Output} }
