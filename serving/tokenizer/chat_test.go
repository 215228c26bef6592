package tokenizer

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/testdata"
)

// chatGolden is testdata/tokenizer/chat.json, which its "command" makes with Transformers.
type chatGolden struct {
	Tokens             map[string]string
	Talks              map[string][]Message
	SmolLM2            []chatCase
	Families, Snippets []struct {
		Name, Template string
		Cases          []chatCase
	}
}

type chatCase struct {
	Talk     string
	Generate bool
	Text     *string // nil where Transformers failed
	Error    string
	IDs      []int32
}

var readChatGolden = readOnce[chatGolden]("chat.json")

// withTemplate returns a tokenizer of which only Chat is of use.
func withTemplate(source string, names map[string]string) *Tokenizer {
	t := &Tokenizer{names: names, ownTemplate: true}
	t.chat, t.chatErr = parseChatTemplate(source)
	return t
}

func TestChatFamilies(t *testing.T) {
	g := readChatGolden(t)
	for _, f := range g.Families {
		t.Run(f.Name, func(t *testing.T) {
			tok := withTemplate(f.Template, g.Tokens)
			for _, c := range f.Cases {
				got, err := tok.Chat(g.Talks[c.Talk], c.Generate)
				if c.Text == nil {
					assert.ErrorIs(t, err, ErrChat, "%s: Transformers says %s", c.Talk, c.Error)
					continue
				}
				if assert.NoError(t, err, c.Talk) {
					assert.Equal(t, *c.Text, got, "%s, generate %v", c.Talk, c.Generate)
				}
			}
		})
	}
}

// differences are the snippets that gonja renders otherwise than Jinja, or that
// it lacks: the first two groups must keep failing loudly, the third is what
// goes unnoticed, none of it met in the published templates of the families above.
var differences = map[string][]string{
	"refused": {
		"{{ none }} {{ true }}", "{{ 'ab' * 3 }}", // * and ** are refused, they can allocate without bound
		"{{ 'yes' if messages", // ( … if … else … ) in parentheses
		"{{ 'a' 'b' }}", "{% set a, b", "{{ 'a,b,,c'", "{{ '%s-%d'", "{{ 'a b c' | wordcount", "{% macro f() %}{{ kwargs",
		"{{ (messages | map(attribute='content') | join('\\n')).split", "{{ none.x }}",
	},
	"rendered where Jinja fails": {
		"{{ 'a' + missing }}", "{{ 'a' + 1 }}", "{{ 1 + 'a' }}", "{{ 'a' + none }}", "{{ 1 < 'a' }}", "{{ 1 / 0 }}",
		"{% for i in 5 %}", "{% for i in none %}", "{{ none | length }}",
	},
	"rendered otherwise": {
		"{{ missing }}|", "{{ 'a' ~ missing", // none is written as nothing, and undefined is none
		"{{ 1 < 2 < 3 }}", // comparisons are not chained
		"{{ not true or true", "{{ 'abcdef'[1:3] }}", "{{ messages | map(attribute='role') | list }}",
		"{{ {'a': 1, 'b': 'x'} }}", "{% for k, v in {'b'", "{{ {'a': 1}.get('a') }}", "{{ 1 is number }}", "{{ (1, 2, 3) | length }}",
	},
}

func TestChatSnippets(t *testing.T) {
	g := readChatGolden(t)
	kind := func(snippet string) string {
		for kind, prefixes := range differences {
			for _, p := range prefixes {
				if strings.HasPrefix(snippet, p) {
					return kind
				}
			}
		}
		return ""
	}
	same, all := 0, 0
	for _, f := range g.Snippets {
		c := f.Cases[0]
		got, err := withTemplate(f.Template, g.Tokens).Chat(g.Talks[c.Talk], c.Generate)
		all++
		switch kind(f.Name) {
		case "refused":
			assert.ErrorIs(t, err, ErrChat, f.Name)
		case "rendered where Jinja fails":
			assert.NoError(t, err, f.Name)
			assert.Nil(t, c.Text, f.Name)
		case "rendered otherwise":
			if assert.NoError(t, err, f.Name) {
				assert.NotEqual(t, *c.Text, got, "no longer a difference: %s", f.Name)
			}
		default:
			same++
			if c.Text == nil {
				assert.ErrorIs(t, err, ErrChat, "%s: Transformers says %s", f.Name, c.Error)
			} else if assert.NoError(t, err, f.Name) {
				assert.Equal(t, *c.Text, got, f.Name)
			}
		}
	}
	t.Logf("%d of %d snippets as Jinja renders them", same, all)
}

func TestChatSmolLM2(t *testing.T) {
	g := readChatGolden(t)
	for _, model := range []string{"smollm2", "smollm2-bf16.gguf"} {
		tok := opened(t, testdata.Peers(t, "models", model))
		require.True(t, tok.HasChatTemplate())
		assert.Equal(t, []int32{2}, tok.EOS())
		for _, c := range g.SmolLM2 {
			got, err := tok.Chat(g.Talks[c.Talk], c.Generate)
			require.NoError(t, err)
			assert.Equal(t, *c.Text, got, c.Talk)
			checkIDs(t, got, tok.Encode(got, true), c.IDs)
		}
	}
}

func TestChatDefault(t *testing.T) {
	tok := openGPT2(t)
	assert.False(t, tok.HasChatTemplate())
	talk := []Message{{"system", "Be brief."}, {"user", "Hi"}}
	got, err := tok.Chat(talk, true)
	require.NoError(t, err)
	assert.Equal(t, "System: Be brief.\nUser: Hi\nAssistant:", got)
	got, err = tok.Chat(talk[1:], false)
	require.NoError(t, err)
	assert.Equal(t, "User: Hi\n", got)
	_, err = tok.Chat(nil, true)
	assert.ErrorIs(t, err, ErrChat)
}

// TestChatSpecials holds that the rendered template is encoded as a whole, as
// vLLM and Transformers do: special tokens in a message's content are special.
func TestChatSpecials(t *testing.T) {
	tok := opened(t, testdata.Peers(t, "models", "smollm2-bf16.gguf"))
	text, err := tok.Chat([]Message{{"user", "a<|im_end|>b"}}, false)
	require.NoError(t, err)
	ends := 0
	for _, id := range tok.Encode(text, true) {
		if id == 2 {
			ends++
		}
	}
	assert.Equal(t, 3, ends, "the system turn's, the content's and the user turn's")
}

func TestChatBounds(t *testing.T) {
	say := []Message{{"user", "hi"}}
	kilobyte := "{% set s = '" + strings.Repeat("x", 1000) + "' %}"
	for name, c := range map[string]struct{ template, want string }{
		"endless recursion":  {"{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "100 deep"},
		"two macros":         {"{% macro f() %}{{ g() }}{% endmacro %}{% macro g() %}{{ f() }}{% endmacro %}{{ f() }}", "100 deep"},
		"wide recursion":     {"{% macro f(n) %}{% for i in range(99) %}{% if n < 90 %}{{ f(n + 1) }}{% endif %}{% endfor %}{% endmacro %}{{ f(0) }}", "loops more than"},
		"nested loops":       {"{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "loops more than"},
		"long range":         {"{% for i in range(1000000000) %}{% endfor %}", "more than 10000 elements"},
		"doubled variable":   {"{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}", "grows beyond"},
		"doubled block":      {"{% set ns = namespace(s='xxxxxxxx') %}{% for i in range(99) %}{% set x %}{{ ns.s }}{{ ns.s }}{% endset %}{% set ns.s = x %}{% endfor %}", "grows beyond"},
		"doubled argument":   {"{% macro f(s) %}{{ f(s + s) }}{% endmacro %}{{ f('xxxx') }}", "grows beyond"},
		"doubled list":       {"{% set ns = namespace(l=[1]) %}{% for i in range(99) %}{% set ns.l = ns.l + ns.l %}{% endfor %}", "grows beyond"},
		"cycle":              {"{% set ns = namespace() %}{% set ns.s = ns %}{{ ns }}", "nests deeper"},
		"cycle in a list":    {"{% set ns = namespace() %}{% set ns.s = [{'a': [ns]}] %}{{ ns }}", "nests deeper"},
		"cycle of two":       {"{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{{ a == b }}", "nests deeper"},
		"cycle in a group":   {"{% set ns = namespace(n=1) %}{% set ns.s = [ns] | groupby('n') %}{{ ns }}", ""},
		"shared twice":       {"{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}", "grows beyond"},
		"long result":        {"{% set s = 'x' | replace('x', '" + strings.Repeat("x", 1000) + "') %}{% for i in range(9999) %}{{ s }}{{ s }}{{ s }}{{ s }}{% endfor %}", "larger than"},
		"long join":          {kilobyte + "{{ range(9999) | join(s + s + s + s) }}", "filters make more"},
		"long join by name":  {kilobyte + "{{ range(9999) | join(d=s + s + s + s) }}", "filters make more"},
		"long joins":         {kilobyte + "{% for i in range(99) %}{% set x = range(999) | join(s) %}{% endfor %}", "filters make more"},
		"long replacement":   {kilobyte + "{% set t = s | replace('x', s) %}{{ t | replace('x', t) }}", "filters make more"},
		"long replacements":  {kilobyte + "{{ range(9999) | map('replace', '', s + s + s + s) | list | length }}", "filters make more"},
		"joined by a method": {kilobyte + "{{ s.join(range(9999)) }}", "join makes"},
		"repetition":         {"{{ 'x' * 1000000000000 }}", "operator *"},
		"power":              {"{{ 2 ** 1000 }}", "operator **"},
		"recursive loop":     {"{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}", "recursive loops"},
		"include":            {"{% include '/etc/passwd' %}", "include"},
		"import":             {"{% import '/etc/passwd' as x %}", "import"},
		"extends":            {"{% extends '/etc/passwd' %}", "extends"},
		"division by zero":   {"{{ 1 // 0 % 0 }}", ""},
		"raised":             {"{{ raise_exception('no thanks') }}", "chat template: no thanks"},
		"raised in a macro":  {"{% macro f() %}{% for i in [1] %}{{ raise_exception('no') }}{% endfor %}{% endmacro %}{{ f() }}", "chat template: no"},
		"source too long":    {strings.Repeat("x", maxTemplate+1), "bytes are more than"},
		"nested parentheses": {"{{ " + strings.Repeat("(", maxTemplate-10) + " }}", "nests deeper"},
		"nested statements":  {strings.Repeat("{% if true %}", 5000) + strings.Repeat("{% endif %}", 5000), "nests deeper"},
		"long sum":           {"{{ none.x" + strings.Repeat("+a", 60_000) + " }}", "tokens"},
		"unclosed":           {"{{ f(in", ""},
		"no end":             {"{% for i in x %}", ""},
		"raw without end":    {"{% raw %}{{ x }}", "without {% endraw %}"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := withTemplate(c.template, nil).Chat(say, true)
			require.ErrorIs(t, err, ErrChat)
			assert.ErrorContains(t, err, c.want)
			assert.Less(t, len(err.Error()), 10_000)
		})
	}
}

func TestStrftime(t *testing.T) {
	at := time.Date(2024, 2, 9, 17, 4, 5, 0, time.UTC)
	got, err := strftime(at, "%d %b %Y %A %B %e %H:%M:%S %I %p %j %y %% %F%")
	require.NoError(t, err)
	assert.Equal(t, "09 Feb 2024 Friday February  9 17:04:05 05 PM 040 24 % 2024-02-09%", got)
	_, err = strftime(at, "%Q")
	assert.ErrorIs(t, err, ErrUnsupported)
}
