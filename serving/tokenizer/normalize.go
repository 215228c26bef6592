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

// maxGrowth bounds how many bytes all normalisers together may make of one, and
// how many may be prepended.
const maxGrowth = 64

// readNormalizer reads the normaliser of a tokenizer.json.
func (v *vocabulary) readNormalizer(c *component) error {
	if c == nil {
		return nil
	}
	if len(v.normalizers) == maxGrowth {
		return fmt.Errorf("normalizer: there are more than %d", maxGrowth)
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
	case c.Type == "Prepend" && len(c.Prepend) <= maxGrowth:
		v.normalizers = append(v.normalizers, func(s string) string {
			if s == "" {
				return s
			}
			return c.Prepend + s
		})
	case c.Type == "Replace" && c.Pattern.String != "" && c.Pattern.Regex == "" && v.grows(len(c.Pattern.String), len(c.Content)):
		v.normalizers = append(v.normalizers, func(s string) string {
			return strings.ReplaceAll(s, c.Pattern.String, c.Content)
		})
	case c.Type == "Replace" || c.Type == "Prepend":
		return unsupported("normalizer "+c.Type, c.Pattern.Regex+c.Pattern.String+c.Prepend,
			fmt.Sprintf("a String, and text that grows at most %d times", maxGrowth))
	default:
		return unsupported("normalizer", c.Type, supportedNormalizers...)
	}
	return nil
}

// grows notes that text may grow from one length to another, and reports whether
// that is within bounds.
func (v *vocabulary) grows(from, to int) bool {
	if v.growth == 0 {
		v.growth = 1
	}
	v.growth *= max(1, (to+from-1)/from)
	return v.growth <= maxGrowth
}

// normalize returns the normalised text of a part of a text.
func (t *Tokenizer) normalize(s string) string {
	for _, n := range t.normalizers {
		s = n(s)
	}
	return s
}
