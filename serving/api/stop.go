package api

// automaton is one stop string's Knuth-Morris-Pratt automaton. A state is how
// many bytes of text the input ends with. It is made once for a request and
// never changed: the stoppers of all its choices use it.
type automaton struct {
	text string
	fail []int // fail[i]: longest proper border of text[:i+1]
}

func newAutomata(texts []string) []automaton {
	list := make([]automaton, len(texts))
	for i, text := range texts {
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
		list[i] = automaton{text, fail}
	}
	return list
}

// step returns the state after a byte more; state is below len(a.text).
func (a *automaton) step(state int, c byte) int {
	for state > 0 && a.text[state] != c {
		state = a.fail[state-1]
	}
	if a.text[state] == c {
		state++
	}
	return state
}

// stopper finds stop strings in text that arrives in pieces, and holds back
// what may yet become one. A byte costs O(1) whatever the strings are, and the
// longest state of their automata is exactly the longest end of the text that
// is a beginning of a string. Strings and pieces are UTF-8, so what is held back
// begins with a character.
type stopper struct {
	automata []automaton
	states   []int
	held     []byte // the end of the text that is not given out yet
}

func newStopper(of []automaton) *stopper {
	return &stopper{automata: of, states: make([]int, len(of))}
}

// push adds text and returns what can be given out. matched is the stop string
// that ended the text, "" for none: the first to be complete, and the longest
// of those that end with the same byte; out is then cut before it. A matched
// stopper is not used any further. A string that is complete before the text is
// armed stops nothing, one that only begins there does.
func (s *stopper) push(text string, armed bool) (out, matched string) {
	if len(s.automata) == 0 || text == "" {
		return text, ""
	}
	hold := 0
	for i := range len(text) {
		s.held = append(s.held, text[i])
		hold = 0
		for j := range s.automata {
			a := &s.automata[j]
			state := a.step(s.states[j], text[i])
			if state == len(a.text) {
				if armed && len(a.text) > len(matched) {
					matched = a.text
				}
				state = a.fail[state-1]
			}
			s.states[j] = state
			hold = max(hold, state)
		}
		if matched != "" {
			return string(s.held[:len(s.held)-len(matched)]), matched
		}
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
