package datasets

import (
	"fmt"
	"regexp"
	"strings"
)

// HumanEval is a row of openai/openai_humaneval: a function to write.
type HumanEval struct {
	TaskID            string `json:"task_id"`
	Prompt            string `json:"prompt"` // imports, helpers, signature, docstring
	CanonicalSolution string `json:"canonical_solution"`
	Test              string `json:"test"`
	EntryPoint        string `json:"entry_point"` // the function's name
}

// Of the 164 prompts as they are, none is in the window with GPT-2's tokenizer
// and 5 with SmolLM2's; by the rule 135 and 143 are.
var humanEval = Dataset{
	Name: "openai_humaneval", Hub: "openai/openai_humaneval", Config: "openai_humaneval", folder: "openai_humaneval",
	Splits: []string{"test"},
	Task:   Code,
	Rule: "the prompt is the function's signature and its docstring's first sentence, before any examples, on one line; " +
		"imports and helper functions before it are left out; prompts outside the window are dropped",
	read: reader([]string{"task_id", "prompt", "entry_point"}, func(r *HumanEval) (Row, error) {
		row := Row{ID: r.TaskID}
		signature, rest, err := signatureOf(r.Prompt, r.EntryPoint)
		if err != nil {
			return row, err
		}
		if s := firstSentence(docstring(rest)); s != "" {
			row.Text = signature + "\n    \"\"\"" + s + "\"\"\"\n"
		} else {
			row.Drop = "no docstring"
		}
		return row, nil
	}),
	prompt: func(r Row, _ int) string { return r.Text },
}

// signatureOf finds "def name(...) -> type:" in Python source and returns it
// with what follows. It may span lines; colons inside brackets are not its end.
func signatureOf(source, name string) (signature, rest string, err error) {
	start := strings.Index("\n"+source, "\ndef "+name+"(")
	if name == "" || start < 0 {
		return "", "", fmt.Errorf("field \"prompt\" has no function %q (field \"entry_point\")", name)
	}
	depth := 0
	for i, c := range source[start:] {
		switch c {
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case ':':
			if depth == 0 {
				end := start + i + 1
				return source[start:end], source[end:], nil
			}
		}
	}
	return "", "", fmt.Errorf("the signature of function %q in field \"prompt\" has no end", name)
}

// docstring returns what stands between the first triple quotes.
func docstring(source string) string {
	for i := range source {
		quotes := source[i:]
		if strings.HasPrefix(quotes, `"""`) || strings.HasPrefix(quotes, `'''`) {
			text, _, _ := strings.Cut(quotes[3:], quotes[:3])
			return text
		}
	}
	return ""
}

var (
	examplesBegin = regexp.MustCompile(`\n[ \t]*\n|>>>|\n\s*(For )?[Ee]xamples?\b|\bFor example\b`)
	sentenceEnd   = regexp.MustCompile(`[.?!](\s|$)`)
	abbreviation  = regexp.MustCompile(`\b(e\.g|i\.e|etc|vs|resp)\.$`)
)

// firstSentence returns a docstring's first sentence on one line, at most up
// to its examples or its first empty line.
func firstSentence(doc string) string {
	doc = strings.TrimLeft(strings.TrimSpace(doc), `" `) // some open with a fourth quote
	if at := examplesBegin.FindStringIndex(doc); at != nil {
		doc = doc[:at[0]]
	}
	doc = strings.Join(strings.Fields(doc), " ")
	for _, at := range sentenceEnd.FindAllStringIndex(doc, -1) {
		if s := doc[:at[0]+1]; !abbreviation.MatchString(s) {
			doc = s
			break
		}
	}
	if strings.HasSuffix(doc, `"`) || strings.HasSuffix(doc, `\`) {
		doc += " " // else it would join the closing quotes
	}
	return doc
}
