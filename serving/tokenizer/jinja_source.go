package tokenizer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// jinjaSource rewrites a template's source, without changing what it means, for
// what gonja's lexer gets wrong:
//
//   - With its own trim_blocks and lstrip_blocks it also drops white space between
//     an expression and a statement on the same line; here they are applied before.
//   - It reads escapes in strings by Go's rules, and ends 'a\\' elsewhere. A string
//     with a backslash becomes the name of a variable that holds its value.
//   - It skips characters that it does not know, and loops for ever over a number
//     with a dot and a non-ASCII character behind it. Outside of strings, anything
//     but ASCII is refused, as Jinja does with most of it.
//   - It knows keywords by the blank behind them, but no newlines.
//
// What is between {% raw %} and {% endraw %} becomes a variable too, so that no
// text in a tag goes by unchecked.
type jinjaSource struct {
	out       strings.Builder
	literals  map[string]any // values of the variables made of strings
	lineStart bool           // whether the text that comes next begins a line
}

// literalPrefix begins the names of variables that stand for strings.
const literalPrefix = "__literal"

// rewrite writes the source to out. An error says what cannot be a template.
func (j *jinjaSource) rewrite(source string) error {
	// Jinja ends lines in \n, whatever they end in, and drops the last line's end.
	source = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(validText(source))
	source = strings.TrimSuffix(source, "\n")
	j.literals = map[string]any{}
	j.lineStart = true
	for {
		at := nextTag(source)
		if at < 0 {
			j.out.WriteString(source)
			return nil
		}
		text := source[:at]
		n := tagLength(source[at:])
		if n < 0 {
			return fmt.Errorf("a tag has no end: %.40q", source[at:])
		}
		tag := source[at : at+n]
		source = source[at+n:]
		j.out.WriteString(j.leftStrip(text, tag))
		var err error
		if isStatement(tag, "raw") {
			tag, source, err = j.raw(tag, source)
		} else {
			err = j.tag(tag)
		}
		if err != nil {
			return err
		}
		j.lineStart = false
		if end := tag[len(tag)-3]; tag[1] != '{' && end != '+' && end != '-' && strings.HasPrefix(source, "\n") {
			source, j.lineStart = source[1:], true
		}
	}
}

// leftStrip returns the text before a tag without the white space that
// lstrip_blocks takes: that from the beginning of the statement's line.
func (j *jinjaSource) leftStrip(text, tag string) string {
	if sign := tag[2]; tag[1] == '{' || sign == '-' || sign == '+' {
		return text
	}
	line := strings.LastIndexByte(text, '\n') + 1
	if (line > 0 || j.lineStart) && strings.TrimLeft(text[line:], " \t\v\f") == "" {
		return text[:line]
	}
	return text
}

// raw writes what is between {% raw %}, which is tag, and {% endraw %}, as an
// expression. It returns the tag that ends it and the source behind that.
func (j *jinjaSource) raw(tag, source string) (end, rest string, err error) {
	j.lineStart = false
	for at := 0; ; at += 2 {
		next := strings.Index(source[at:], "{%")
		if next < 0 {
			return "", "", errors.New("{% raw %} without {% endraw %}")
		}
		at += next
		if !strings.HasPrefix(strings.TrimLeft(source[at+2:], "-+ \t\n\v\f"), "endraw") {
			continue
		}
		n := tagLength(source[at:])
		if n < 0 || !isStatement(source[at:at+n], "endraw") {
			continue
		}
		end = source[at : at+n]
		text := j.leftStrip(source[:at], end)
		if tag[len(tag)-3] == '-' {
			text = strings.TrimLeft(text, " \t\n\v\f")
		}
		if end[2] == '-' {
			text = strings.TrimRight(text, " \t\n\v\f")
		}
		open, closing := "{{ ", " }}"
		if tag[2] == '-' {
			open = "{{- "
		}
		if end[len(end)-3] == '-' {
			closing = " -}}"
		}
		j.out.WriteString(open + j.variable(text) + closing)
		return end, source[at+n:], nil
	}
}

// tag writes one tag.
func (j *jinjaSource) tag(tag string) error {
	if tag[1] == '#' {
		j.out.WriteString(tag)
		return nil
	}
	for i := 0; i < len(tag); {
		switch c := tag[i]; {
		case c == '\'' || c == '"':
			n := stringLength(tag[i:])
			if err := j.literal(tag[i : i+n]); err != nil {
				return err
			}
			i += n
			continue
		case strings.IndexByte(" \t\n\v\f", c) >= 0:
			j.out.WriteByte(' ')
		case c >= '0' && c <= '9', c >= 'A' && c <= 'Z', c >= 'a' && c <= 'z', strings.IndexByte("_+-*/%~<>=!.,:|()[]{}", c) >= 0:
			j.out.WriteByte(c)
		default:
			return fmt.Errorf("unexpected character in a tag: %.10q", tag[i:])
		}
		i++
	}
	return nil
}

// literal writes a string, which is in quotes.
func (j *jinjaSource) literal(quoted string) error {
	if !strings.Contains(quoted, `\`) {
		j.out.WriteString(quoted)
		return nil
	}
	value, err := unescape(quoted[1 : len(quoted)-1])
	if err != nil {
		return fmt.Errorf("the string %.40s: %w", quoted, err)
	}
	j.out.WriteString(j.variable(value))
	return nil
}

// variable makes a variable that holds a value, and returns its name.
func (j *jinjaSource) variable(value string) string {
	name := literalPrefix + strconv.Itoa(len(j.literals))
	j.literals[name] = value
	return name
}

// escapes are Python's of one character.
var escapes = map[byte]string{
	'\n': "", '\\': `\`, '\'': "'", '"': `"`,
	'a': "\a", 'b': "\b", 'f': "\f", 'n': "\n", 'r': "\r", 't': "\t", 'v': "\v",
}

// unescape returns a string's value, with the escapes of Python's string literals.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if text, ok := escapes[s[i]]; ok {
			b.WriteString(text)
			continue
		}
		digits, base := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]], 16
		from := i + 1
		switch {
		case s[i] >= '0' && s[i] <= '7':
			from, base = i, 8
			for digits < 3 && i+digits < len(s) && s[i+digits] >= '0' && s[i+digits] <= '7' {
				digits++
			}
		case s[i] == 'N':
			return "", fmt.Errorf(`\N is %w`, ErrUnsupported)
		case digits == 0: // no escape
			b.WriteByte('\\')
			b.WriteByte(s[i])
			continue
		}
		if from+digits > len(s) {
			return "", errors.New("an escape is cut off")
		}
		r, err := strconv.ParseUint(s[from:from+digits], base, 32)
		if err != nil || r > 0x10ffff {
			return "", fmt.Errorf("not an escape: %q", s[i:from+digits])
		}
		b.WriteRune(rune(r))
		i = from + digits - 1
	}
	return b.String(), nil
}

// nextTag returns where the next tag begins, -1 for nowhere.
func nextTag(s string) int {
	for i := 0; i+1 < len(s); i++ {
		if s[i] == '{' && (s[i+1] == '{' || s[i+1] == '%' || s[i+1] == '#') {
			return i
		}
	}
	return -1
}

// tagLength returns the length of the tag that s begins with, at least 4; -1 when it has no end.
func tagLength(s string) int {
	if s[1] == '#' {
		if i := strings.Index(s[2:], "#}"); i >= 0 {
			return i + 4
		}
		return -1
	}
	closing := "}}"
	if s[1] == '%' {
		closing = "%}"
	}
	braces := 0 // of dict literals, whose }} ends no expression
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\'' || c == '"':
			n := stringLength(s[i:])
			if n < 0 {
				return -1
			}
			i += n - 1
		case braces == 0 && strings.HasPrefix(s[i:], closing):
			return i + 2
		case c == '{':
			braces++
		case c == '}' && braces > 0:
			braces--
		}
	}
	return -1
}

// stringLength returns the length of the string literal that s begins with, -1 when it has no end.
func stringLength(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1
		}
	}
	return -1
}

// isStatement reports whether a tag is {% name %}.
func isStatement(tag, name string) bool {
	if tag[1] != '%' {
		return false
	}
	inner := tag[2 : len(tag)-2]
	if inner != "" && (inner[0] == '-' || inner[0] == '+') {
		inner = inner[1:]
	}
	if n := len(inner); n > 0 && (inner[n-1] == '-' || inner[n-1] == '+') {
		inner = inner[:n-1]
	}
	return strings.Trim(inner, " \t\n\v\f") == name
}
