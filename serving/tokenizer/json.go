package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// tokenizerJSON is the part of a tokenizer.json that matters here. Its
// truncation and padding do not: a server cuts and pads nothing.
type tokenizerJSON struct {
	AddedTokens   []addedToken    `json:"added_tokens"`
	Normalizer    *component      `json:"normalizer"`
	PreTokenizer  *component      `json:"pre_tokenizer"`
	PostProcessor *component      `json:"post_processor"`
	Decoder       *component      `json:"decoder"`
	Model         json.RawMessage `json:"model"`
}

// component is a normaliser, pre-tokeniser, post-processor or decoder; each
// type has some of the fields.
type component struct {
	Type             string                         `json:"type"`
	AddPrefixSpace   *bool                          `json:"add_prefix_space"`  // ByteLevel; Metaspace in old files
	Replacement      string                         `json:"replacement"`       // Metaspace
	PrependScheme    *string                        `json:"prepend_scheme"`    // Metaspace
	Split            *bool                          `json:"split"`             // Metaspace; absent is true
	Prepend          string                         `json:"prepend"`           // Prepend
	Content          string                         `json:"content"`           // Replace, Strip
	Start            int                            `json:"start"`             // Strip
	Stop             int                            `json:"stop"`              // Strip
	Normalizers      []*component                   `json:"normalizers"`       // Sequence
	Decoders         []*component                   `json:"decoders"`          // Sequence
	UseRegex         *bool                          `json:"use_regex"`         // ByteLevel; absent is true
	IndividualDigits bool                           `json:"individual_digits"` // Digits
	Pattern          struct{ Regex, String string } `json:"pattern"`           // Split, Replace
	Behavior         string                         `json:"behavior"`          // Split
	Invert           bool                           `json:"invert"`            // Split
	PreTokenizers    []*component                   `json:"pretokenizers"`     // Sequence
	Processors       []*component                   `json:"processors"`        // Sequence
	Single           []templatePiece                `json:"single"`            // TemplateProcessing
	SpecialTokens    map[string]struct {
		IDs []int64 `json:"ids"`
	} `json:"special_tokens"` // TemplateProcessing
}

// templatePiece is one element of a post-processor's template.
type templatePiece struct {
	SpecialToken *struct{ ID string }
	Sequence     *struct{ ID string }
}

// modelJSON is a tokenizer.json's model of type BPE.
type modelJSON struct {
	Type         string           `json:"type"` // absent in old files
	Dropout      float64          `json:"dropout"`
	UnkToken     string           `json:"unk_token"`
	Prefix       string           `json:"continuing_subword_prefix"`
	Suffix       string           `json:"end_of_word_suffix"`
	FuseUnk      bool             `json:"fuse_unk"`
	ByteFallback bool             `json:"byte_fallback"`
	IgnoreMerges bool             `json:"ignore_merges"`
	Vocab        map[string]int64 `json:"vocab"`
	Merges       []mergeJSON      `json:"merges"`
}

// mergeJSON is one merge, "left right" or, in newer files, ["left", "right"].
type mergeJSON [2]string

func (m *mergeJSON) UnmarshalJSON(b []byte) (err error) {
	if len(b) > 0 && b[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*m, err = splitMerge(s)
		return err
	}
	var two []string
	if err := json.Unmarshal(b, &two); err != nil {
		return err
	}
	if len(two) != 2 {
		return fmt.Errorf("merge %q is not two tokens", two)
	}
	*m = mergeJSON(two)
	return nil
}

// ErrUnsupported is returned, wrapped with the name of the kind and of those
// that are supported, for a tokenizer of a kind that this package lacks.
var ErrUnsupported = errors.New("not supported")

// unsupported says what is not supported, and what is.
func unsupported(what, name string, supported ...string) error {
	return fmt.Errorf("%s %q: %w; supported: %s", what, name, ErrUnsupported, strings.Join(supported, ", "))
}

// parseJSON reads a tokenizer.json.
func parseJSON(data []byte) (*vocabulary, error) {
	var file tokenizerJSON
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, err
	}
	v := &vocabulary{}
	if err := v.readModel(file.Model, file.AddedTokens); err != nil {
		return nil, err
	}
	if err := v.readNormalizer(file.Normalizer); err != nil {
		return nil, err
	}
	read := v.readByteLevel
	if file.isPieces() {
		read = v.readPieces
	}
	if err := read(&file); err != nil {
		return nil, err
	}
	v.noPostProcessor = file.PostProcessor == nil
	return v, v.readPostProcessor(file.PostProcessor)
}

// readByteLevel reads what turns text into words of bytes and back.
func (v *vocabulary) readByteLevel(f *tokenizerJSON) error {
	if v.byteFallback {
		return unsupported("BPE option", "byte_fallback with byte-level BPE", "with SentencePiece's kind")
	}
	if err := v.readSplits(f.PreTokenizer); err != nil {
		return err
	}
	if d := f.Decoder; d == nil || d.Type != "ByteLevel" {
		name := "null"
		if d != nil {
			name = d.Type
		}
		return unsupported("decoder", name, "ByteLevel")
	}
	return nil
}

// readModel reads the model, and puts it and the added tokens into one list by id.
func (v *vocabulary) readModel(raw json.RawMessage, added []addedToken) error {
	var kind struct {
		Type   string          `json:"type"`
		Merges json.RawMessage `json:"merges"`
	}
	if err := json.Unmarshal(raw, &kind); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	if kind.Type != "BPE" && (kind.Type != "" || kind.Merges == nil) {
		return unsupported("model type", kind.Type, "BPE")
	}
	var m modelJSON
	if err := json.Unmarshal(raw, &m); err != nil {
		return fmt.Errorf("model: %w", err)
	}
	switch {
	case m.Dropout != 0:
		return unsupported("BPE option", "dropout", "none")
	case m.Prefix != "":
		return unsupported("BPE option", "continuing_subword_prefix", "none")
	case m.Suffix != "":
		return unsupported("BPE option", "end_of_word_suffix", "none")
	}
	v.unknown, v.fuse, v.whole, v.added = m.UnkToken, m.FuseUnk, m.IgnoreMerges, added
	v.byteFallback = m.ByteFallback
	v.merges = make([][2]string, len(m.Merges))
	for i, merge := range m.Merges {
		v.merges[i] = merge
	}
	return v.number(m.Vocab)
}

// number fills in the tokens by id. Together the model's vocabulary and the
// added tokens must be numbered from 0 without a hole, so the length is known
// before any id is believed.
func (v *vocabulary) number(vocab map[string]int64) error {
	total := len(vocab)
	added := make(map[string]bool, len(v.added))
	v.beyond = map[string]bool{}
	for _, a := range v.added {
		id, known := vocab[a.Content]
		if known && id != a.ID {
			return fmt.Errorf("added token %q has id %d, and %d in the model's vocabulary", a.Content, a.ID, id)
		}
		if !known {
			v.beyond[a.Content] = true
			total++
		}
		if added[a.Content] {
			return fmt.Errorf("token %q is added twice", a.Content)
		}
		added[a.Content] = true
	}
	v.tokens = make([]string, total)
	taken := make([]bool, total)
	place := func(spelling string, id int64) error {
		if id < 0 || id >= int64(total) {
			return fmt.Errorf("token %q has id %d: %d tokens must have the ids 0 to %d, with no holes", spelling, id, total, total-1)
		}
		if taken[id] {
			return fmt.Errorf("id %d belongs to two tokens, %q and %q", id, v.tokens[id], spelling)
		}
		taken[id], v.tokens[id] = true, spelling
		return nil
	}
	for spelling, id := range vocab {
		if err := place(spelling, id); err != nil {
			return err
		}
	}
	for _, a := range v.added {
		if _, known := vocab[a.Content]; known {
			continue
		}
		if err := place(a.Content, a.ID); err != nil {
			return err
		}
	}
	return nil
}

// supportedSplits are the pre-tokenisers that readSplits knows.
var supportedSplits = []string{"ByteLevel", "Sequence of Digits or Split and at last ByteLevel"}

// readSplits reads the pre-tokeniser.
func (v *vocabulary) readSplits(c *component) error {
	parts := []*component{c}
	if c.Type == "Sequence" {
		parts = c.PreTokenizers
	}
	for i, p := range parts {
		last := i == len(parts)-1
		switch {
		case p == nil:
			return unsupported("pre_tokenizer", "null in a Sequence", supportedSplits...)
		case p.Type == "ByteLevel" && last:
			v.prefixSpace = p.AddPrefixSpace != nil && *p.AddPrefixSpace
			if p.UseRegex == nil || *p.UseRegex {
				v.steps = append(v.steps, gpt2Split{})
			} else {
				v.steps = append(v.steps, noSplit{})
			}
		case p.Type == "Digits" && !last:
			v.steps = append(v.steps, digitSplit{runs: !p.IndividualDigits})
		case p.Type == "Split" && !last:
			scanner, ok := patterns[p.Pattern.Regex]
			if !ok || p.Behavior != "Isolated" || p.Invert {
				return unsupported("pre_tokenizer Split", p.Pattern.Regex, "with the behavior Isolated the patterns of GPT-2, Llama 3 and Qwen 2")
			}
			v.steps = append(v.steps, scanner)
		default:
			return unsupported("pre_tokenizer", p.Type, supportedSplits...)
		}
	}
	if len(parts) == 0 {
		return unsupported("pre_tokenizer", "an empty Sequence", supportedSplits...)
	}
	return nil
}

// readPostProcessor reads what is put around a prompt.
func (v *vocabulary) readPostProcessor(c *component) error {
	if c == nil || c.Type == "ByteLevel" { // ByteLevel moves offsets, and adds no token
		return nil
	}
	if c.Type == "Sequence" {
		for _, p := range c.Processors {
			if p != nil && p.Type == "Sequence" {
				return unsupported("post_processor", "Sequence in a Sequence", "ByteLevel, TemplateProcessing, a Sequence of them")
			}
			if err := v.readPostProcessor(p); err != nil {
				return err
			}
		}
		return nil
	}
	if c.Type != "TemplateProcessing" {
		return unsupported("post_processor", c.Type, "ByteLevel", "TemplateProcessing", "a Sequence of them")
	}
	var before, after []int32
	sequences := 0
	for _, piece := range c.Single {
		switch {
		case piece.Sequence != nil && piece.Sequence.ID == "A":
			sequences++
		case piece.SpecialToken != nil:
			token, ok := c.SpecialTokens[piece.SpecialToken.ID]
			if !ok {
				return fmt.Errorf("post_processor: special token %q has no ids", piece.SpecialToken.ID)
			}
			for _, id := range token.IDs {
				if id < 0 || id >= int64(len(v.tokens)) {
					return fmt.Errorf("post_processor: special token %q has id %d, beyond the %d tokens", piece.SpecialToken.ID, id, len(v.tokens))
				}
				if sequences == 0 {
					before = append(before, int32(id))
				} else {
					after = append(after, int32(id))
				}
			}
		default:
			return fmt.Errorf("post_processor: TemplateProcessing: a piece that is neither a special token nor sequence A")
		}
	}
	if sequences != 1 {
		return fmt.Errorf("post_processor: TemplateProcessing has sequence A %d times, not once", sequences)
	}
	v.prefix, v.suffix = append(before, v.prefix...), append(v.suffix, after...)
	return nil
}
