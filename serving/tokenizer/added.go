package tokenizer

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// addedToken is a token that is recognised in the text itself, before it is
// split into words. The flags are those of the tokenizers package's AddedToken.
type addedToken struct {
	ID         int64  `json:"id"`
	Content    string `json:"content"`
	SingleWord bool   `json:"single_word"` // only where no word character touches it
	LStrip     bool   `json:"lstrip"`      // takes the white space before it along
	RStrip     bool   `json:"rstrip"`      // and that after it
	Normalized bool   `json:"normalized"`  // looked for in normalised text, after the others
	Special    bool   `json:"special"`     // control token: left out of text on request
}

// maxAddedLen bounds the length of an added token in bytes, and with it the time to look for them.
const maxAddedLen = 1 << 10

// addedSet finds added tokens in text: a trie, of which the longest match at
// the leftmost place wins (the tokenizers package's Aho–Corasick automaton of
// kind LeftmostLongest).
type addedSet struct {
	first [256]bool      // bytes that a token begins with
	edges map[edge]int32 // the trie: from node and byte to node; 0 is the root
	ends  map[int32]*addedToken
}

type edge struct {
	node int32
	b    byte
}

// newAddedSet makes the set of tokens; empty contents match nothing and are left out.
func newAddedSet(tokens []addedToken) (*addedSet, error) {
	set := &addedSet{edges: map[edge]int32{}, ends: map[int32]*addedToken{}}
	for i := range tokens {
		content := tokens[i].Content
		if content == "" {
			continue
		}
		if len(content) > maxAddedLen {
			return nil, fmt.Errorf("added token %d is %d bytes long, more than %d", tokens[i].ID, len(content), maxAddedLen)
		}
		set.first[content[0]] = true
		node := int32(0)
		for j := range len(content) {
			e := edge{node, content[j]}
			next, ok := set.edges[e]
			if !ok {
				next = int32(len(set.edges)) + 1
				set.edges[e] = next
			}
			node = next
		}
		set.ends[node] = &tokens[i]
	}
	return set, nil
}

// find returns the next match in s at or after from; nil when there is none.
func (set *addedSet) find(s string, from int) (token *addedToken, start int) {
	if len(set.ends) == 0 {
		return nil, 0
	}
	for i := from; i < len(s); i++ {
		if !set.first[s[i]] {
			continue
		}
		node := int32(0)
		for j := i; j < len(s); j++ {
			next, ok := set.edges[edge{node, s[j]}]
			if !ok {
				break
			}
			node = next
			if t := set.ends[node]; t != nil {
				token = t
			}
		}
		if token != nil {
			return token, i
		}
	}
	return nil, 0
}

// split calls text and token, in order, for the parts of s between added tokens
// and the added tokens themselves. Without special, special tokens are text.
func (set *addedSet) split(s string, special bool, text func(string), token func(id int32)) {
	done := 0 // s[:done] has been dealt with
	for from := 0; ; {
		t, start := set.find(s, from)
		if t == nil {
			break
		}
		end := start + len(t.Content)
		from = end
		if t.Special && !special || t.SingleWord && touchesWord(s, start, end) {
			continue
		}
		if t.LStrip {
			start = max(done, len(strings.TrimRightFunc(s[:start], unicode.IsSpace)))
		}
		if t.RStrip {
			end = len(s) - len(strings.TrimLeftFunc(s[end:], unicode.IsSpace))
		}
		if done < start {
			text(s[done:start])
		}
		token(int32(t.ID))
		done = end
	}
	if done < len(s) {
		text(s[done:])
	}
}

// touchesWord reports whether a word character stands right before start or right after end.
func touchesWord(s string, start, end int) bool {
	before, size := utf8.DecodeLastRuneInString(s[:start])
	if size > 0 && isWord(before) {
		return true
	}
	after, size := utf8.DecodeRuneInString(s[end:])
	return size > 0 && isWord(after)
}

// isWord is \w of Unicode's regular expressions (UTS 18, annex C).
func isWord(r rune) bool {
	return classOf(r) == letter || unicode.In(r, unicode.Nl, unicode.Other_Alphabetic, unicode.M,
		unicode.Nd, unicode.Pc, unicode.Join_Control)
}
