package tokenizer

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	structures "github.com/nikolalohinski/gonja/v2/builtins/control_structures"

	"github.com/nikolalohinski/gonja/v2/builtins"
	"github.com/nikolalohinski/gonja/v2/config"
	"github.com/nikolalohinski/gonja/v2/exec"
	"github.com/nikolalohinski/gonja/v2/nodes"
	"github.com/nikolalohinski/gonja/v2/parser"
	"github.com/nikolalohinski/gonja/v2/tokens"
)

// checkTokens refuses, before it is parsed, a template that gonja would parse or
// evaluate too deeply (a level of brackets takes it 10 kB of stack), and the
// operators that make large values of small ones: * repeats a string.
func checkTokens(source string, cfg *config.Config) error {
	brackets, statements, inTag := 0, 0, 0
	stream := tokens.LexAll(source, cfg)
	for !stream.End() {
		t := stream.Next()
		inTag++
		switch t.Type {
		case tokens.Multiply, tokens.Power:
			return fmt.Errorf("line %d: the operator %s is %w; supported: + - / // %% ~ and comparisons", t.Line, t.Val, ErrUnsupported)
		case tokens.Error:
			return fmt.Errorf("line %d: %s", t.Line, t.Val)
		case tokens.LeftParenthesis, tokens.LeftBracket, tokens.LeftBrace:
			brackets++
		case tokens.RightParenthesis, tokens.RightBracket, tokens.RightBrace:
			brackets--
		case tokens.BlockBegin, tokens.VariableBegin, tokens.CommentBegin, tokens.Data:
			brackets, inTag = 0, 0
		case tokens.Name:
			if inTag == 1 && strings.HasPrefix(t.Val, "end") {
				statements--
			} else if inTag == 1 && slices.Contains(nestingStatements, t.Val) {
				statements++
			}
		}
		if max(brackets, statements) > maxNesting || inTag > maxTagTokens {
			return fmt.Errorf("line %d: it nests deeper than %d, or a tag has more than %d tokens", t.Line, maxNesting, maxTagTokens)
		}
	}
	return nil
}

// nestingStatements are the statements that end with one of their own.
var nestingStatements = []string{"if", "for", "macro", "call", "filter", "with", "generation"}

// budget is what one rendering may still do. gonja has no such bounds, and a
// template that recurses without end would exhaust the stack, which ends a Go
// process; so the bodies of loops and macros get a node in front that counts.
type budget struct {
	loops    int // iterations so far
	depth    int // macros within macros now
	grown    int // bytes that filters have made so far of shorter texts
	deadline time.Time
	raised   error // the first reason to stop
}

// budgetName is the variable that holds the budget. Templates cannot name it.
const budgetName = " budget"

func budgetOf(ctx *exec.Context) *budget {
	v, _ := ctx.Get(budgetName)
	b, _ := v.(*budget)
	return b
}

// fail keeps the first reason to stop, and returns it.
func (b *budget) fail(err error) error {
	if b.raised == nil {
		b.raised = err
	}
	return b.raised
}

// spend counts one iteration of a loop or, with a change of depth, a macro's entry or exit.
func (b *budget) spend(depth int) error {
	b.depth += depth
	if depth == 0 {
		b.loops++
	}
	switch {
	case b.raised != nil:
		return b.raised
	case b.loops > maxLoops:
		return b.fail(fmt.Errorf("it loops more than %d times", maxLoops))
	case b.depth > maxMacroDepth:
		return b.fail(fmt.Errorf("its macros call each other more than %d deep", maxMacroDepth))
	case time.Now().After(b.deadline):
		return b.fail(fmt.Errorf("it takes more than %v", maxRenderTime))
	}
	return nil
}

// grow counts the bytes of n copies of a text that a filter is about to make.
func (b *budget) grow(n, size int) error {
	if size > 0 && n > (maxRendered-b.grown)/size {
		return b.fail(fmt.Errorf("its filters make more than %d MB", maxRendered>>20))
	}
	b.grown += n * size
	return nil
}

// growing is a filter of gonja's own whose result may be larger than what goes
// in: copies says of what, and how often.
func growing(name string, copies func(in *exec.Value, params *exec.VarArgs) (n int, text string)) exec.FilterFunction {
	filter, _ := builtins.Filters.Get(name)
	return func(e *exec.Evaluator, in *exec.Value, params *exec.VarArgs) *exec.Value {
		n, text := copies(in, params)
		if b := budgetOf(e.Environment.Context); b != nil && !in.IsError() {
			if err := b.grow(n, len(text)); err != nil {
				return exec.AsValue(err)
			}
		}
		return filter(e, in, params)
	}
}

// joinCopies are those of the text between a list's elements.
func joinCopies(in *exec.Value, params *exec.VarArgs) (int, string) {
	between := params.KwArgs["d"]
	if len(params.Args) > 0 {
		between = params.Args[0]
	}
	if between == nil || between.IsNil() {
		return 0, ""
	}
	return in.Len(), between.String()
}

// replaceCopies are those of the new text.
func replaceCopies(in *exec.Value, params *exec.VarArgs) (int, string) {
	if len(params.Args) < 2 {
		return 0, "" // the filter refuses it
	}
	return strings.Count(in.String(), params.Args[0].String()), params.Args[1].String()
}

// checkSize refuses a variable that has grown too large, or that nests so deep
// that it must contain itself: gonja would write it out without end.
func (b *budget) checkSize(ctx *exec.Context, name string) error {
	v, _ := ctx.Get(name)
	left := maxVariable
	if !fits(reflect.ValueOf(v), maxNesting, &left) {
		return b.fail(fmt.Errorf("its variable %s grows beyond %d MB, or nests deeper than %d", name, maxVariable>>20, maxNesting))
	}
	return nil
}

// elementSize is what an element of a container counts for, in bytes.
const elementSize = 64

// fits takes the bytes of a value off left, and reports whether they and the
// levels of nesting were enough. It looks at no more than that many bytes' worth.
func fits(v reflect.Value, levels int, left *int) bool {
	each := func(n int, element func(i int) reflect.Value) bool {
		for i := 0; i < n; i++ {
			if !fits(element(i), levels-1, left) {
				return false
			}
		}
		return true
	}
	*left -= elementSize
	if *left < 0 || levels == 0 {
		return false
	}
	if !v.IsValid() {
		return true
	}
	switch kind := v.Kind(); {
	case kind == reflect.String:
		*left -= v.Len()
		return *left >= 0
	case kind == reflect.Interface || kind == reflect.Pointer:
		*left += elementSize
		return fits(v.Elem(), levels, left)
	case kind == reflect.Slice || kind == reflect.Array:
		return each(v.Len(), v.Index)
	case kind == reflect.Map: // a namespace
		keys := v.MapKeys()
		return each(len(keys), func(i int) reflect.Value { return v.MapIndex(keys[i]) })
	case kind != reflect.Struct:
		return true
	}
	switch s := v.Interface().(type) {
	case exec.Value:
		*left += elementSize
		return fits(s.Val, levels, left)
	case exec.Pair:
		return fits(reflect.ValueOf(s.Value), levels-1, left)
	case exec.Dict:
		return each(len(s.Pairs), func(i int) reflect.Value { return reflect.ValueOf(s.Pairs[i].Value) })
	}
	return true
}

// guard is a node that spends from the budget.
type guard struct {
	at    *tokens.Token
	depth int      // +1 entering a macro, -1 leaving it, 0 in a loop
	sizes []string // variables to look at
}

func (g *guard) Position() *tokens.Token { return g.at }
func (g *guard) String() string          { return "guard" }

// Execute is called by gonja each time the node is reached.
func (g *guard) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	b := budgetOf(r.Environment.Context)
	if b == nil {
		return errors.New("a template is rendered without a budget")
	}
	for _, name := range g.sizes {
		if err := b.checkSize(r.Environment.Context, name); err != nil {
			return err
		}
	}
	return b.spend(g.depth)
}

func (g *guard) node() nodes.Node {
	return &nodes.ControlStructureBlock{Location: g.at, Name: "guard", ControlStructure: g}
}

// builtin returns the parser of a statement of gonja's own.
func builtin(name string) parser.ControlStructureParser {
	f, _ := builtins.ControlStructures.Get(name)
	return f
}

func guardedFor(p, args *parser.Parser) (nodes.ControlStructure, error) {
	s, err := builtin("for")(p, args)
	if err != nil {
		return nil, err
	}
	loop, ok := s.(*structures.ForControlStructure)
	if !ok || loop.Recursive {
		return nil, fmt.Errorf("recursive loops are %w", ErrUnsupported)
	}
	g := &guard{at: loop.BodyWrapper.Location}
	loop.BodyWrapper.Nodes = append([]nodes.Node{g.node()}, loop.BodyWrapper.Nodes...)
	return loop, nil
}

func guardedMacro(p, args *parser.Parser) (nodes.ControlStructure, error) {
	s, err := builtin("macro")(p, args)
	if err != nil {
		return nil, err
	}
	macro, ok := s.(*structures.MacroControlStructure)
	if !ok {
		return nil, fmt.Errorf("macro: gonja made a %T", s)
	}
	enter, leave := &guard{at: macro.Location, depth: 1}, &guard{at: macro.Location, depth: -1}
	for _, parameter := range macro.Kwargs {
		if name, ok := parameter.Key.(*nodes.String); ok {
			enter.sizes = append(enter.sizes, name.Val)
		}
	}
	body := append([]nodes.Node{enter.node()}, macro.Wrapper.Nodes...)
	macro.Wrapper.Nodes = append(body, leave.node())
	return macro, nil
}

// set is a set statement, after which the variable's size is looked at.
type set struct {
	nodes.ControlStructure
	target string
}

func guardedSet(p, args *parser.Parser) (nodes.ControlStructure, error) {
	target := args.Current()
	s, err := builtin("set")(p, args)
	if err != nil {
		return nil, err
	}
	return &set{s, target.Val}, nil
}

// Execute is called by gonja each time the statement is reached.
func (s *set) Execute(r *exec.Renderer, tag *nodes.ControlStructureBlock) error {
	statement, ok := s.ControlStructure.(exec.ControlStructure)
	if !ok {
		return fmt.Errorf("set: gonja made a %T", s.ControlStructure)
	}
	if err := statement.Execute(r, tag); err != nil {
		return err
	}
	b := budgetOf(r.Environment.Context)
	if b == nil {
		return nil
	}
	return b.checkSize(r.Environment.Context, s.target)
}

// generation is {% generation %}, with which Transformers marks what an
// assistant said: only its body.
type generation struct{ body *nodes.Wrapper }

func (g *generation) Position() *tokens.Token { return g.body.Position() }
func (g *generation) String() string          { return "generation" }

// Execute is called by gonja each time the statement is reached.
func (g *generation) Execute(r *exec.Renderer, _ *nodes.ControlStructureBlock) error {
	return r.ExecuteWrapper(g.body)
}

func parseGeneration(p, _ *parser.Parser) (nodes.ControlStructure, error) {
	body, _, err := p.WrapUntil("endgeneration")
	if err != nil {
		return nil, err
	}
	return &generation{body}, nil
}
