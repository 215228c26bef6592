package tokenizer

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/loaders"
	"github.com/nikolalohinski/gonja/v2/parser"
)

// chatTemplate is a parsed Jinja template with the environment that Transformers
// gives chat templates (transformers/utils/chat_template_utils.py).
type chatTemplate struct {
	parsed   *exec.Template
	literals map[string]any // variables that stand for strings of the source
}

// Bounds of a template. The largest published ones have about 20 kB; gonja
// parses and runs by recursion, so what is unbounded could exhaust the stack.
const (
	maxTemplate   = 128 << 10        // bytes of source
	maxNesting    = 100              // brackets within brackets, statements within statements
	maxTagTokens  = 1000             // names, operators, … between {{ and }} or {% and %}
	maxLoops      = 50_000           // loop iterations of one rendering, all loops together
	maxMacroDepth = 100              // macros within macros
	maxRange      = 10_000           // elements of range()
	maxVariable   = 8 << 20          // bytes of a variable
	maxRendered   = 32 << 20         // bytes of the result
	maxRenderTime = 10 * time.Second // looked at in each loop iteration and macro call
)

// jinjaFilters are the filters that templates may use: those of Jinja that need
// no environment and whose result is no larger than what goes in. Added to them
// are join and replace, whose result may be, with a bound, and those that call a
// method of Python's str: gonja's go by Go's classes of characters.
var jinjaFilters = []string{
	"abs", "attr", "count", "d", "default", "dictsort", "e", "escape", "first", "float",
	"groupby", "int", "items", "last", "length", "list", "map", "max", "min", "reject",
	"rejectattr", "reverse", "round", "safe", "select", "selectattr", "sort", "string", "sum",
	"title", "unique", "wordcount",
}

// jinjaEnvironment is the same for every template; nothing changes it after
// the package has been initialised.
var jinjaEnvironment = func() *exec.Environment {
	filters := map[string]exec.FilterFunction{
		"tojson": filterToJSON, "join": growing("join", joinCopies), "replace": growing("replace", replaceCopies),
		"capitalize": methodFilter("capitalize"), "lower": methodFilter("lower"), "upper": methodFilter("upper"),
		"trim": methodFilter("strip", "chars"),
	}
	for _, name := range jinjaFilters {
		filters[name], _ = builtins.Filters.Get(name)
	}
	return &exec.Environment{
		Context: exec.NewContext(map[string]any{
			"range":           jinjaRange,
			"namespace":       jinjaGlobal("namespace"),
			"dict":            jinjaGlobal("dict"),
			"raise_exception": raiseException,
			"strftime_now":    func(format string) (string, error) { return strftime(time.Now(), format) },
			"tools":           nil,
			"documents":       nil,
		}),
		Filters:           exec.NewFilterSet(filters),
		Tests:             builtins.Tests,
		ControlStructures: exec.NewControlStructureSet(guardedStatements()),
		Methods: exec.Methods{
			Bool: builtins.Methods.Bool, Int: builtins.Methods.Int, Float: builtins.Methods.Float,
			Str: stringMethods, Dict: builtins.Methods.Dict, List: exec.NewMethodSet(map[string]exec.Method[[]any]{}),
		},
	}
}()

func jinjaGlobal(name string) any {
	f, _ := builtins.GlobalFunctions.Get(name)
	return f
}

// parseChatTemplate parses a template; DefaultChatTemplate if source is "".
func parseChatTemplate(source string) (t *chatTemplate, err error) {
	defer func() {
		if p := recover(); p != nil { // gonja panics on some malformed templates
			t, err = nil, fmt.Errorf("%w: it cannot be parsed: %v", ErrChat, p)
		}
	}()
	if source == "" {
		source = DefaultChatTemplate
	}
	if len(source) > maxTemplate {
		return nil, fmt.Errorf("%w: its %d bytes are more than %d", ErrChat, len(source), maxTemplate)
	}
	rewritten := &jinjaSource{}
	if err := rewritten.rewrite(source); err != nil {
		return nil, fmt.Errorf("%w: it cannot be parsed: %w", ErrChat, err)
	}
	source = rewritten.out.String()
	cfg := config.New()
	cfg.KeepTrailingNewline = true // rewrite has dropped it
	if err := checkTokens(source, cfg); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrChat, err)
	}
	const name = "/chat_template"
	parsed, err := exec.NewTemplate(name, cfg, loaders.MustNewMemoryLoader(map[string]string{name: source}), jinjaEnvironment)
	if err != nil {
		if inner := errors.Unwrap(err); inner != nil { // the outer error repeats the whole source
			err = inner
		}
		return nil, fmt.Errorf("%w: it cannot be parsed: %w", ErrChat, err)
	}
	return &chatTemplate{parsed, rewritten.literals}, nil
}

// render renders messages; names are the special tokens by name.
func (c *chatTemplate) render(messages []Message, addGenerationPrompt bool, names map[string]string) (text string, err error) {
	b := &budget{deadline: time.Now().Add(maxRenderTime)}
	defer func() {
		if p := recover(); p != nil { // integer division by zero, for one
			text, err = "", fmt.Errorf("it failed: %v", p)
		}
		if b.raised != nil { // without gonja's account of every node around it
			text, err = "", b.raised
		}
	}()
	list := make([]any, len(messages))
	for i, m := range messages {
		list[i] = map[string]any{"role": m.Role, "content": m.Content}
	}
	data := map[string]any{
		"messages":              list,
		"add_generation_prompt": addGenerationPrompt,
		budgetName:              b,
	}
	maps.Copy(data, c.literals)
	for name, token := range names {
		data[name] = token
	}
	out := &boundedWriter{}
	if err := c.parsed.Execute(out, exec.NewContext(data)); err != nil {
		return "", fmt.Errorf("it failed: %w", err)
	}
	return out.text.String(), nil
}

// boundedWriter keeps at most maxRendered bytes.
type boundedWriter struct{ text strings.Builder }

func (w *boundedWriter) Write(p []byte) (int, error) {
	if w.text.Len()+len(p) > maxRendered {
		return 0, fmt.Errorf("the result is larger than %d MB", maxRendered>>20)
	}
	return w.text.Write(p)
}

// raiseException is the function that templates refuse a conversation with.
func raiseException(e *exec.Evaluator, args *exec.VarArgs) (*exec.Value, error) {
	err := errors.New(args.First().String())
	if b := budgetOf(e.Environment.Context); b != nil {
		b.fail(err)
	}
	return nil, err
}

// jinjaRange is range(): gonja's own leaks a goroutine when a loop is left early.
func jinjaRange(args *exec.VarArgs) (*exec.Value, error) {
	bounds := [3]int{0, 0, 1}
	for i, a := range args.Args {
		if i == len(bounds) || !a.IsInteger() {
			return nil, errors.New("range takes one to three integers")
		}
		bounds[i] = a.Integer()
	}
	start, stop, step := bounds[0], bounds[1], bounds[2]
	if len(args.Args) == 1 {
		start, stop = 0, start
	}
	if len(args.Args) == 0 || step == 0 {
		return nil, errors.New("range takes one to three integers, the third not 0")
	}
	list := []any{}
	for i := start; step > 0 && i < stop || step < 0 && i > stop; i += step {
		if len(list) == maxRange {
			return nil, fmt.Errorf("range has more than %d elements", maxRange)
		}
		list = append(list, i)
	}
	return exec.AsValue(list), nil
}

// guardedStatements are the statements that templates may use. Those that read
// other files (include, import, extends) are not among them.
func guardedStatements() map[string]parser.ControlStructureParser {
	statements := map[string]parser.ControlStructureParser{
		"for":        guardedFor,
		"macro":      guardedMacro,
		"set":        guardedSet,
		"generation": parseGeneration,
	}
	for _, name := range []string{"if", "call", "filter", "with", "break", "continue"} {
		statements[name], _ = builtins.ControlStructures.Get(name)
	}
	return statements
}
