package tokenizer

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/nikolalohinski/gonja/v2/exec"
)

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
