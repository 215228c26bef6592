package tokenizer

import "strings"

// trimTags gives a template's source Jinja's newlines (\n, none at the very end)
// and applies trim_blocks and lstrip_blocks: it drops the newline after a statement or comment, and the white space before
// one that begins its line. gonja has both as options, but with them also drops
// white space between an expression and a statement on the same line. A - or +
// at a tag's edge is left to be, and keeps its meaning.
func trimTags(source string) string {
	source = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(source)
	source = strings.TrimSuffix(source, "\n")
	var out strings.Builder
	lineStart := true // whether what comes next begins a line
	for source != "" {
		at := nextTag(source)
		if at < 0 {
			out.WriteString(source)
			break
		}
		text := source[:at]
		end := at + tagLength(source[at:])
		tag := source[at:end]
		source = source[end:]
		isExpression := tag[1] == '{'
		if edge := tag[2:3]; !isExpression && edge != "-" && edge != "+" {
			line := strings.LastIndexByte(text, '\n') + 1
			if (line > 0 || lineStart) && strings.TrimLeft(text[line:], " \t\v\f") == "" {
				text = text[:line]
			}
		}
		out.WriteString(text)
		out.WriteString(tag)
		lineStart = false
		edge := tag[max(0, len(tag)-3)]
		switch {
		case isRaw(tag): // what follows is text, from its first newline on
			n := rawLength(source)
			out.WriteString(source[:n])
			source = source[n:]
		case !isExpression && edge != '+' && edge != '-' && strings.HasPrefix(source, "\n"):
			source, lineStart = source[1:], true
		}
	}
	return out.String()
}

// nextTag returns where the next tag begins, -1 for nowhere.
func nextTag(s string) int {
	for i := 0; i+2 < len(s); i++ {
		if s[i] == '{' && (s[i+1] == '{' || s[i+1] == '%' || s[i+1] == '#') {
			return i
		}
	}
	return -1
}

// tagLength returns the length of the tag that s begins with; all of s when the tag has no end.
func tagLength(s string) int {
	if s[1] == '#' {
		if i := strings.Index(s[2:], "#}"); i >= 0 {
			return i + 4
		}
		return len(s)
	}
	closing := "}}"
	if s[1] == '%' {
		closing = "%}"
	}
	braces := 0 // of dict literals, whose }} ends no expression
	for i := 2; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\'' || c == '"':
			i += stringLength(s[i:]) - 1
		case braces == 0 && strings.HasPrefix(s[i:], closing):
			return i + 2
		case c == '{':
			braces++
		case c == '}' && braces > 0:
			braces--
		}
	}
	return len(s)
}

// stringLength returns the length of the string literal that s begins with.
func stringLength(s string) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case s[0]:
			return i + 1
		}
	}
	return len(s)
}

// isRaw reports whether a tag is {% raw %}.
func isRaw(tag string) bool {
	return tag[1] == '%' && strings.Trim(tag, "{%}-+ \t\r\n") == "raw"
}

// rawLength returns where {% endraw %} begins in s.
func rawLength(s string) int {
	for i := 0; ; {
		at := strings.Index(s[i:], "{%")
		if at < 0 {
			return len(s)
		}
		i += at
		if strings.HasPrefix(strings.TrimLeft(s[i+2:], "-+ \t\r\n"), "endraw") {
			return i
		}
		i += 2
	}
}
