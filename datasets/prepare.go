package datasets

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"strings"
)

// DefaultN is how many prompts are drawn unless Options say otherwise.
const DefaultN = 100

// All as Options.N takes every prompt that is kept, in the order of the draw.
const All = -1

// DefaultSeed is the seed of the draw in the command and the suite.
const DefaultSeed = 1

// Options say how a set is drawn.
type Options struct {
	Seed uint64 // of the draw and of the prompts' own seeds
	N    int    // prompts to draw; 0 is DefaultN, All is as many as there are
	// Tokenizer names the tokenizer in the header: Model.Hub unless set.
	Tokenizer string
}

// TooFewError is returned when fewer prompts are kept than are to be drawn.
type TooFewError struct {
	Dataset, Model string
	Need           int
	Rows           Rows
}

func (e *TooFewError) Error() string {
	return fmt.Sprintf("too few prompts of %s for %s: %d found, %d needed (%s); give more rows or ask for fewer with -n",
		e.Dataset, e.Model, e.Rows.Kept, e.Need, e.Rows)
}

// String tells what became of the rows, on one line.
func (r Rows) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rows read, %d kept", r.Read, r.Kept)
	reasons := make([]string, 0, len(r.Dropped))
	for reason := range r.Dropped {
		reasons = append(reasons, reason)
	}
	slices.SortFunc(reasons, func(a, b string) int {
		return cmp.Or(cmp.Compare(r.Dropped[b], r.Dropped[a]), cmp.Compare(a, b))
	})
	for _, reason := range reasons {
		fmt.Fprintf(&b, ", %d dropped: %s", r.Dropped[reason], reason)
	}
	return b.String()
}

// countBatch is how many texts are handed to the tokenizer at a time.
const countBatch = 128

// candidate is a row that its dataset's rule lets through.
type candidate struct {
	row    Row
	text   string
	tokens int      // of text
	rank   [32]byte // place in the draw: the lowest are drawn
}

// Prepare makes a model's prompts of a dataset's rows: steps 2 to 5 of the
// package's pipeline. The draw depends on the rows' ids and the seed alone:
// neither the order of the rows nor what else is in the file changes which of
// two rows comes first.
//
// It returns a *TooFewError when fewer than opts.N prompts are kept, an error
// that names file and line for a bad row, and the tokenizer's errors.
func Prepare(ctx context.Context, src *Source, model Model, tok Tokenizer, opts Options) (*Set, error) {
	n := cmp.Or(opts.N, DefaultN)
	if n < 0 && n != All {
		return nil, fmt.Errorf("cannot draw %d prompts", n)
	}
	p := preparation{
		data: src.Dataset, window: src.Dataset.Task.Windows().In, seed: opts.Seed, n: n, tok: tok,
		rows: Rows{Dropped: map[string]int{}}, seen: map[[32]byte]bool{},
	}
	if err := p.read(ctx, src); err != nil {
		return nil, err
	}
	p.trim()
	if need := max(n, 1); len(p.kept) < need {
		return nil, &TooFewError{Dataset: p.data.Name, Model: model.Name, Need: need, Rows: p.rows}
	}
	p.rows.Drawn = len(p.kept)
	prompts, err := p.prompts(ctx, model)
	if err != nil {
		return nil, err
	}
	return &Set{Header: p.header(src, model, cmp.Or(opts.Tokenizer, model.Hub), prompts), Prompts: prompts}, nil
}

// preparation is one run of Prepare.
type preparation struct {
	data   Dataset
	window Window
	seed   uint64
	n      int
	tok    Tokenizer

	rows  Rows
	seen  map[[32]byte]bool // hashes of the ids and texts let through
	batch []candidate
	kept  []candidate
}

// read passes every row through rule and window.
func (p *preparation) read(ctx context.Context, src *Source) error {
	for row, err := range src.Rows() {
		if err != nil {
			return err
		}
		p.rows.Read++
		if reason := p.reject(row); reason != "" {
			p.rows.Dropped[reason]++
			continue
		}
		p.batch = append(p.batch, candidate{row: row, text: p.data.prompt(row, 0), rank: p.rank(row.ID)})
		if len(p.batch) == countBatch {
			if err := p.flush(ctx); err != nil {
				return err
			}
		}
	}
	return p.flush(ctx)
}

// reject returns why a row is dropped before it is counted, or "".
func (p *preparation) reject(row Row) string {
	if row.Drop != "" {
		return row.Drop
	}
	words := normal(row.Text)
	if words == "" {
		return "empty text"
	}
	id, text := sha256.Sum256([]byte("id\x00"+row.ID)), sha256.Sum256([]byte("text\x00"+words))
	if p.seen[id] {
		return "id of an earlier row"
	}
	// Twice the same prompt would measure a server's prefix cache.
	if p.seen[text] {
		return "text of an earlier row"
	}
	p.seen[id], p.seen[text] = true, true
	return ""
}

// normal is the form in which two texts are the same: case and white space aside.
func normal(text string) string { return strings.ToLower(strings.Join(strings.Fields(text), " ")) }

// flush counts the batch, fills it up where the dataset has examples, and
// keeps what is in the window.
func (p *preparation) flush(ctx context.Context) error {
	if err := p.count(ctx, p.batch); err != nil {
		return err
	}
	for _, c := range p.batch {
		switch {
		case c.tokens < p.window.Min:
			p.rows.Dropped[fmt.Sprintf("below %d tokens", p.window.Min)]++
		case c.tokens > p.window.Max:
			p.rows.Dropped[fmt.Sprintf("above %d tokens", p.window.Max)]++
		default:
			p.rows.Kept++
			p.kept = append(p.kept, c)
		}
	}
	p.batch = p.batch[:0]
	if p.n != All && len(p.kept) > 4*p.n+countBatch {
		p.trim() // bounds the memory a large split takes
	}
	return nil
}

// count sets the candidates' token counts; those below the window get one
// example more each round, as long as there are any.
func (p *preparation) count(ctx context.Context, batch []candidate) error {
	pending := make([]*candidate, len(batch))
	for i := range batch {
		pending[i] = &batch[i]
	}
	for examples := 0; len(pending) > 0; {
		texts := make([]string, len(pending))
		for i, c := range pending {
			texts[i] = c.text
		}
		counts, err := p.tok.Count(ctx, texts, false)
		if err != nil {
			return fmt.Errorf("counting rows %s to %s: %w", pending[0].row.Where, pending[len(pending)-1].row.Where, err)
		}
		examples++
		var short []*candidate
		for i, c := range pending {
			c.tokens = counts[i]
			if c.tokens < p.window.Min && examples <= p.data.maxExamples {
				c.text = p.data.prompt(c.row, examples)
				short = append(short, c)
			}
		}
		pending = short
	}
	return nil
}

// rank is the row's place in the draw.
func (p *preparation) rank(id string) [32]byte {
	return sha256.Sum256(fmt.Appendf(nil, "draw\x00%d\x00%s\x00%s", p.seed, p.data.Name, id))
}

// trim sorts the kept candidates by rank and cuts them to the number drawn.
func (p *preparation) trim() {
	slices.SortFunc(p.kept, func(a, b candidate) int { return bytes.Compare(a.rank[:], b.rank[:]) })
	if p.n != All && len(p.kept) > p.n {
		p.kept = slices.Clip(p.kept[:p.n])
	}
}

// prompts turns the drawn candidates into prompts, with the token counts of
// both routes.
func (p *preparation) prompts(ctx context.Context, model Model) ([]Prompt, error) {
	out := make([]Prompt, len(p.kept))
	texts := make([]string, len(out))
	chats := make([][]Message, len(out))
	for i, c := range p.kept {
		out[i] = Prompt{
			ID: c.row.ID, Dataset: p.data.Name, Task: p.data.Task, Text: c.text,
			Tokens:   Tokens{Text: c.tokens},
			Sampling: model.Sampling(p.data.Task),
			Seed:     int64(binary.BigEndian.Uint32(c.rank[28:]) >> 1),
		}
		texts[i], chats[i] = c.text, out[i].Messages()
	}
	completion, err := p.tok.Count(ctx, texts, true)
	if err != nil {
		return nil, fmt.Errorf("counting the drawn prompts: %w", err)
	}
	chat, err := p.tok.CountChat(ctx, chats)
	if err != nil {
		return nil, fmt.Errorf("counting the drawn prompts in the chat template: %w", err)
	}
	for i := range out {
		out[i].Tokens.Completion, out[i].Tokens.Chat = completion[i], chat[i]
	}
	return out, nil
}

const outputRule = "max_tokens caps an answer and may be above the window; an answer may end sooner. " +
	"No prompt is dropped for it: achieved lengths are compared with the window after the run."

func (p *preparation) header(src *Source, model Model, tokenizer string, prompts []Prompt) Header {
	return Header{
		Format: FormatName, Version: FormatVersion,
		Dataset: p.data.Name, Hub: p.data.Hub, Config: p.data.Config, Split: src.Split, Task: p.data.Task,
		Model: model.Name, ModelHub: model.Hub, Tokenizer: tokenizer,
		Rule: p.data.Rule, Window: p.window,
		OutputWindow: p.data.Task.Windows().Out, OutputRule: outputRule,
		Sampling: model.Sampling(p.data.Task), Seed: p.seed,
		Sources: src.Files, Rows: p.rows, PromptsSHA256: hashPrompts(prompts),
	}
}

// SentSHA256 is over what a server is sent of the prompts on a route: equal
// wherever the same prompts are measured, whatever the tokenizer says of other
// routes (a GGUF file may lack the chat template that a folder has).
func (s *Set) SentSHA256(api API) string {
	sent := slices.Clone(s.Prompts)
	for i := range sent {
		sent[i].Tokens = Tokens{Text: sent[i].PromptTokens(api)}
	}
	return hashPrompts(sent)
}

// hashPrompts is the SHA-256 of the prompts as JSON lines.
func hashPrompts(prompts []Prompt) string {
	h := sha256.New()
	for _, p := range prompts {
		line, err := compact(p)
		if err != nil {
			panic(err) // a Prompt has nothing that JSON cannot hold, once its numbers are finite
		}
		h.Write(line)
		io.WriteString(h, "\n")
	}
	return hex.EncodeToString(h.Sum(nil))
}
