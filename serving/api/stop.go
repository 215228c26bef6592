package api

// stopper finds stop strings in text that arrives in pieces, and holds back
// what may yet become one. Each string has a Knuth-Morris-Pratt automaton, so a
// byte costs O(1) whatever the strings are, and the longest state over all of
// them is exactly the longest end of the text that is a beginning of a string.
// Strings and pieces are UTF-8, so what is held back begins with a character.
type stopper struct {
	patterns []pattern
	held     []byte // the end of the text that is not given out yet
}

// pattern is one string's automaton.
type pattern struct {
	text  string
	fail  []int // fail[i]: longest proper border of text[:i+1]
	state int   // bytes of text that the input ends with
}

func newStopper(stops []string) *stopper {
	s := &stopper{patterns: make([]pattern, len(stops))}
	for i, text := range stops {
		fail := make([]int, len(text))
		for j, k := 1, 0; j < len(text); j++ {
			for k > 0 && text[j] != text[k] {
				k = fail[k-1]
			}
			if text[j] == text[k] {
				k++
			}
			fail[j] = k
		}
		s.patterns[i] = pattern{text: text, fail: fail}
	}
	return s
}

// push adds text and returns what can be given out. matched is the stop string
// that ended the text, "" for none: the first to be complete, and the longest
// of those that end with the same byte; out is then cut before it. A matched
// stopper is not used any further.
func (s *stopper) push(text string) (out, matched string) {
	if len(s.patterns) == 0 {
		return text, ""
	}
	hold := 0
	for i := range len(text) {
		s.held = append(s.held, text[i])
		hold = 0
		for j := range s.patterns {
			p := &s.patterns[j]
			p.step(text[i])
			hold = max(hold, p.state)
			if p.state == len(p.text) && len(p.text) > len(matched) {
				matched = p.text
			}
		}
		if matched != "" {
			return string(s.held[:len(s.held)-len(matched)]), matched
		}
	}
	if text == "" {
		return "", ""
	}
	n := len(s.held) - hold
	out = string(s.held[:n])
	s.held = append(s.held[:0], s.held[n:]...)
	return out, ""
}

// flush returns what is still held back, once no more text comes.
func (s *stopper) flush() string {
	out := string(s.held)
	s.held = s.held[:0]
	return out
}

func (p *pattern) step(c byte) {
	if p.state == len(p.text) {
		p.state = p.fail[p.state-1]
	}
	for p.state > 0 && p.text[p.state] != c {
		p.state = p.fail[p.state-1]
	}
	if p.text[p.state] == c {
		p.state++
	}
}
