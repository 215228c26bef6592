package tokenizer

import (
	"errors"
	"fmt"
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
		if grown := len(parts) * len(self); grown > maxVariable {
			return nil, fmt.Errorf("join makes a string of more than %d bytes", maxVariable)
		}
		return strings.Join(parts, self), nil
	},
})

// stringMethod makes a method of positional arguments, between least and most of
// them, given as strings.
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

// methodFilter makes a filter that is a method of Python's str, with the names
// that Jinja gives the method's arguments. What is no string is written as one.
func methodFilter(method string, names ...string) exec.FilterFunction {
	call, _ := stringMethods.Get(method)
	return func(_ *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
		if in.IsError() {
			return in
		}
		args := &exec.VarArgs{Args: params.Args}
		for i, name := range names {
			if v, given := params.KwArgs[name]; given && i == len(args.Args) {
				args.Args = append(slices.Clip(args.Args), v)
			}
		}
		if len(params.Args)+len(params.KwArgs) != len(args.Args) {
			return exec.AsValue(fmt.Errorf("%s: unknown or repeated arguments", method))
		}
		args.Args = slices.DeleteFunc(slices.Clone(args.Args), (*exec.Value).IsNil) // none is as good as absent
		v, err := call(in.String(), in, args)
		if err != nil {
			return exec.AsValue(err)
		}
		return exec.AsValue(v)
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
