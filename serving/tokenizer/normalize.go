package tokenizer

import (
	"fmt"
	"strings"
)

// normalizer changes text before it is looked through for normalised added tokens.
// Text and result are valid UTF-8.
type normalizer func(s string) string

// supportedNormalizers are those that readNormalizer knows.
var supportedNormalizers = []string{"none", "NFC", "Prepend", "Replace of a String", "a Sequence of them"}

// maxNormalizers bounds how many normalisers there are, in Sequences too, and
// maxGrowth what one may make of a byte.
const (
	maxNormalizers = 32
	maxGrowth      = 64
)

// readNormalizer reads the normaliser of a tokenizer.json.
func (v *vocabulary) readNormalizer(c *component) error {
	if c == nil {
		return nil
	}
	if len(v.normalizers) == maxNormalizers {
		return fmt.Errorf("normalizer: there are more than %d", maxNormalizers)
	}
	switch {
	case c.Type == "Sequence":
		for _, n := range c.Normalizers {
			if n == nil || n.Type == "Sequence" {
				return unsupported("normalizer", "null or a Sequence in a Sequence", supportedNormalizers...)
			}
			if err := v.readNormalizer(n); err != nil {
				return err
			}
		}
	case c.Type == "NFC":
		v.normalizers = append(v.normalizers, nfc)
	case c.Type == "Prepend":
		v.normalizers = append(v.normalizers, func(s string) string {
			if s == "" {
				return s
			}
			return c.Prepend + s
		})
	case c.Type == "Replace" && c.Pattern.String != "" && c.Pattern.Regex == "" && len(c.Content) <= maxGrowth:
		v.normalizers = append(v.normalizers, func(s string) string {
			return strings.ReplaceAll(s, c.Pattern.String, c.Content)
		})
	case c.Type == "Replace":
		return unsupported("normalizer Replace", c.Pattern.Regex+c.Pattern.String, fmt.Sprintf("a String, by at most %d bytes", maxGrowth))
	default:
		return unsupported("normalizer", c.Type, supportedNormalizers...)
	}
	return nil
}

// normalize returns the normalised text of a part of a text.
func (t *Tokenizer) normalize(s string) string {
	for _, n := range t.normalizers {
		s = n(s)
	}
	return s
}
