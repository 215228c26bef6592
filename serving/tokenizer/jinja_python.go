package tokenizer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/nikolalohinski/gonja/v2/exec"
	"golang.org/x/text/cases"
	"golang.org/x/text/language"
)

// stringMethods are the methods of Python's str that templates may call. gonja's
// own lack the default arguments (rstrip and split without any, replace without
// a count).
var stringMethods = exec.NewMethodSet(map[string]exec.Method[string]{
	"strip":        stringMethod(0, 1, func(s string, a []string) (any, error) { return pyLstrip(pyRstrip(s, a), a), nil }),
	"lstrip":       stringMethod(0, 1, func(s string, a []string) (any, error) { return pyLstrip(s, a), nil }),
	"rstrip":       stringMethod(0, 1, func(s string, a []string) (any, error) { return pyRstrip(s, a), nil }),
	"startswith":   stringMethod(1, 1, func(s string, a []string) (any, error) { return strings.HasPrefix(s, a[0]), nil }),
	"endswith":     stringMethod(1, 1, func(s string, a []string) (any, error) { return strings.HasSuffix(s, a[0]), nil }),
	"removeprefix": stringMethod(1, 1, func(s string, a []string) (any, error) { return strings.TrimPrefix(s, a[0]), nil }),
	"removesuffix": stringMethod(1, 1, func(s string, a []string) (any, error) { return strings.TrimSuffix(s, a[0]), nil }),
	"upper":        stringMethod(0, 0, func(s string, _ []string) (any, error) { return cases.Upper(language.Und).String(s), nil }),
	"lower":        stringMethod(0, 0, func(s string, _ []string) (any, error) { return cases.Lower(language.Und).String(s), nil }),
	"title":        stringMethod(0, 0, func(s string, _ []string) (any, error) { return cases.Title(language.Und).String(s), nil }),
	"capitalize":   stringMethod(0, 0, func(s string, _ []string) (any, error) { return pyCapitalize(s), nil }),
	"count":        stringMethod(1, 1, func(s string, a []string) (any, error) { return strings.Count(s, a[0]), nil }),
	"find":         stringMethod(1, 1, func(s string, a []string) (any, error) { return pyFind(s, a[0]), nil }),
	"splitlines":   stringMethod(0, 0, func(s string, _ []string) (any, error) { return pySplitLines(s), nil }),
	"replace":      stringMethod(2, 3, pyReplace),
	"split": stringMethod(0, 2, func(s string, a []string) (any, error) {
		return pySplit(s, a, strings.SplitN)
	}),
	"rsplit": stringMethod(0, 2, func(s string, a []string) (any, error) { return pySplit(s, a, rsplitN) }),
	"join": func(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
		var parts []string
		args.First().Iterate(func(_, _ int, v, _ *exec.Value) bool {
			parts = append(parts, v.String())
			return true
		}, func() {})
		return strings.Join(parts, self), nil
	},
})

// stringMethod makes a method of positional arguments, between least and most of
// them, given as strings; an argument none is as good as absent.
func stringMethod(least, most int, f func(s string, args []string) (any, error)) exec.Method[string] {
	return func(self string, _ *exec.Value, args *exec.VarArgs) (any, error) {
		if len(args.KwArgs) > 0 || len(args.Args) < least || len(args.Args) > most {
			return nil, fmt.Errorf("a string's method takes %d to %d positional arguments", least, most)
		}
		list := make([]string, len(args.Args))
		for i, a := range args.Args {
			list[i] = a.String()
		}
		return f(self, list)
	}
}

// isPySpace is Python's str.isspace for one character: White_Space and the four
// separators of ASCII.
func isPySpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func pyLstrip(s string, cutset []string) string {
	if len(cutset) == 0 {
		return strings.TrimLeftFunc(s, isPySpace)
	}
	return strings.TrimLeft(s, cutset[0])
}

func pyRstrip(s string, cutset []string) string {
	if len(cutset) == 0 {
		return strings.TrimRightFunc(s, isPySpace)
	}
	return strings.TrimRight(s, cutset[0])
}

func pyCapitalize(s string) string {
	for i := range s {
		if i > 0 {
			return cases.Title(language.Und).String(s[:i]) + cases.Lower(language.Und).String(s[i:])
		}
	}
	return cases.Title(language.Und).String(s)
}

// pyFind returns the index in characters, -1 for none.
func pyFind(s, sub string) int {
	i := strings.Index(s, sub)
	if i < 0 {
		return i
	}
	return len([]rune(s[:i]))
}

func pySplitLines(s string) []any {
	lines := []any{}
	s = strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\r", "\n")
	for line := range strings.Lines(s) {
		lines = append(lines, strings.TrimSuffix(line, "\n"))
	}
	return lines
}

func pyReplace(s string, args []string) (any, error) {
	n := -1
	if len(args) == 3 {
		var err error
		if n, err = strconv.Atoi(args[2]); err != nil {
			return nil, errors.New("replace takes an integer as its third argument")
		}
	}
	if grown := strings.Count(s, args[0]) * len(args[1]); grown > maxVariable {
		return nil, fmt.Errorf("replace makes a string of more than %d bytes", maxVariable)
	}
	return strings.Replace(s, args[0], args[1], n), nil
}

// pySplit is split and rsplit: by white space, or by a separator into at most
// one part more than the second argument says.
func pySplit(s string, args []string, split func(s, sep string, n int) []string) (any, error) {
	var parts []string
	switch len(args) {
	case 0:
		parts = strings.FieldsFunc(s, isPySpace)
	default:
		n := -1
		if len(args) == 2 {
			limit, err := strconv.Atoi(args[1])
			if err != nil {
				return nil, errors.New("split takes an integer as its second argument")
			}
			n = max(limit, -2) + 1 // -1 is all of them
			if limit < 0 {
				n = -1
			}
		}
		if args[0] == "" {
			return nil, errors.New("split: empty separator")
		}
		parts = split(s, args[0], n)
	}
	list := make([]any, len(parts))
	for i, p := range parts {
		list[i] = p
	}
	return list, nil
}

// rsplitN is strings.SplitN from the right.
func rsplitN(s, sep string, n int) []string {
	var parts []string
	for n < 0 || len(parts) < n-1 {
		i := strings.LastIndex(s, sep)
		if i < 0 {
			break
		}
		parts = append(parts, s[i+len(sep):])
		s = s[:i]
	}
	parts = append(parts, s)
	slices.Reverse(parts)
	return parts
}

// filterToJSON is Transformers' tojson: json.dumps with ensure_ascii=False,
// which neither escapes for HTML nor sorts.
func filterToJSON(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
	indent := ""
	for name, v := range params.KwArgs {
		switch {
		case name == "indent" && v.IsInteger() && v.Integer() >= 0 && v.Integer() <= 16:
			indent = strings.Repeat(" ", v.Integer())
		case name == "indent" && v.IsNil(), name == "ensure_ascii" && !v.IsTrue():
		default:
			return exec.AsValue(fmt.Errorf("tojson: %s=%s is %w; supported: indent of 0 to 16", name, v.String(), ErrUnsupported))
		}
	}
	if len(params.Args) > 0 {
		return exec.AsValue(fmt.Errorf("tojson: positional arguments are %w; supported: indent=", ErrUnsupported))
	}
	j := &jsonWriter{indent: indent, lines: params.KwArgs["indent"] != nil && !params.KwArgs["indent"].IsNil()}
	if err := j.write(in, 0); err != nil {
		return exec.AsValue(fmt.Errorf("tojson: %w", err))
	}
	return exec.AsSafeValue(j.String())
}

// jsonWriter writes values as Python's json.dumps does.
type jsonWriter struct {
	strings.Builder
	lines  bool // each element on a line of its own
	indent string
}

// maxJSONDepth bounds the nesting of what tojson writes.
const maxJSONDepth = 64

func (j *jsonWriter) write(v *exec.Value, depth int) error {
	if depth > maxJSONDepth {
		return fmt.Errorf("more than %d levels", maxJSONDepth)
	}
	switch {
	case v == nil || v.IsNil():
		j.WriteString("null")
	case v.IsError():
		return v
	case v.IsString():
		j.quote(v.String())
	case v.IsBool():
		j.WriteString(strconv.FormatBool(v.Bool()))
	case v.IsInteger():
		j.WriteString(strconv.Itoa(v.Integer()))
	case v.IsFloat():
		j.WriteString(pyFloat(v.Float()))
	case v.IsDict():
		return j.object(v, depth)
	case v.IsList():
		return j.elements('[', ']', v.Len(), depth, func(i int) error { return j.write(v.Index(i), depth+1) })
	default:
		return fmt.Errorf("a value of type %T has no JSON", v.Interface())
	}
	return nil
}

// object writes a dict; one of the template's own keeps its order, a message has role before content.
func (j *jsonWriter) object(v *exec.Value, depth int) error {
	var pairs []*exec.Pair
	switch d := v.Interface().(type) {
	case *exec.Dict:
		pairs = d.Pairs
	case map[string]any:
		for _, key := range slices.SortedFunc(maps.Keys(d), messageOrder) {
			pairs = append(pairs, &exec.Pair{Key: exec.AsValue(key), Value: exec.ToValue(d[key])})
		}
	default:
		return fmt.Errorf("a value of type %T has no JSON", d)
	}
	return j.elements('{', '}', len(pairs), depth, func(i int) error {
		j.quote(pairs[i].Key.String())
		j.WriteString(": ")
		return j.write(pairs[i].Value, depth+1)
	})
}

// messageOrder sorts keys, role before all others: the order in which clients write messages.
func messageOrder(a, b string) int {
	if (a == "role") != (b == "role") {
		if a == "role" {
			return -1
		}
		return 1
	}
	return cmp.Compare(a, b)
}

// elements writes n elements between brackets.
func (j *jsonWriter) elements(open, end byte, n, depth int, element func(i int) error) error {
	j.WriteByte(open)
	for i := range n {
		switch {
		case i > 0 && j.lines:
			j.WriteByte(',')
		case i > 0:
			j.WriteString(", ")
		}
		j.newline(depth + 1)
		if err := element(i); err != nil {
			return err
		}
	}
	if n > 0 {
		j.newline(depth)
	}
	j.WriteByte(end)
	return nil
}

func (j *jsonWriter) newline(depth int) {
	if j.lines {
		j.WriteByte('\n')
		j.WriteString(strings.Repeat(j.indent, depth))
	}
}

func (j *jsonWriter) quote(s string) {
	j.WriteByte('"')
	for _, r := range s {
		switch r {
		case '"', '\\':
			j.WriteByte('\\')
			j.WriteRune(r)
		case '\n':
			j.WriteString(`\n`)
		case '\r':
			j.WriteString(`\r`)
		case '\t':
			j.WriteString(`\t`)
		case '\b':
			j.WriteString(`\b`)
		case '\f':
			j.WriteString(`\f`)
		default:
			if r < ' ' {
				fmt.Fprintf(j, `\u%04x`, r)
			} else {
				j.WriteRune(r)
			}
		}
	}
	j.WriteByte('"')
}

// pyFloat is Python's repr of a float.
func pyFloat(f float64) string {
	if abs := max(f, -f); abs != 0 && (abs < 1e-4 || abs >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// strftimeLayouts gives Go's layout for Python's directives, in the C locale.
var strftimeLayouts = map[byte]string{
	'a': "Mon", 'A': "Monday", 'b': "Jan", 'B': "January", 'd': "02", 'e': "_2", 'm': "01", 'y': "06", 'Y': "2006",
	'H': "15", 'I': "03", 'M': "04", 'S': "05", 'p': "PM", 'j': "002", 'z': "-0700", 'Z': "MST",
	'F': "2006-01-02", 'T': "15:04:05", 'D': "01/02/06", 'R': "15:04",
}

// strftime formats a time as Python's strftime.
func strftime(at time.Time, format string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			b.WriteByte(format[i])
			continue
		}
		i++
		layout, ok := strftimeLayouts[format[i]]
		switch {
		case ok:
			b.WriteString(at.Format(layout))
		case format[i] == '%':
			b.WriteByte('%')
		default:
			return "", fmt.Errorf("strftime_now: %%%c is %w", format[i], ErrUnsupported)
		}
	}
	return b.String(), nil
}
