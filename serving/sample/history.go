package sample

// History counts the ids of one request that its penalties look at. It knows
// tokens and not steps: a request that is computed again after a preemption
// keeps it. One goroutine uses it at a time.
type History struct {
	seen  []seen  // distinct ids, in the order in which they first came
	table []int32 // open addressing: 1 + the place in seen, or 0; a power of two
}

// seen is an id and how often it is in the output, 0 if in the prompt alone.
type seen struct{ id, output int32 }

// NewHistory returns the history of a request before its first token, or nil
// when nothing in p penalises. With room for output tokens, that many Add calls
// allocate nothing.
func NewHistory(p Params, prompt []int32, output int) *History {
	if !p.penalises() {
		return nil
	}
	if !p.repeats() {
		prompt = nil // the other penalties look at the output alone
	}
	h := &History{}
	h.grow(len(prompt) + output)
	for _, id := range prompt {
		h.place(id)
	}
	return h
}

// Add counts a token of the output. A nil history counts nothing.
func (h *History) Add(id int32) {
	if h != nil {
		h.place(id).output++
	}
}

// place finds an id, or gives it a place.
func (h *History) place(id int32) *seen {
	if 2*len(h.seen) >= len(h.table) {
		h.grow(2*len(h.seen) + 1)
	}
	at := h.slot(id)
	if h.table[at] == 0 {
		h.seen = append(h.seen, seen{id: id})
		h.table[at] = int32(len(h.seen))
	}
	return &h.seen[h.table[at]-1]
}

// slot is the id's index in table, or the free one where it belongs. At least
// half of the table is free, so there is one near.
func (h *History) slot(id int32) int {
	at := int(uint32(id) * 0x9E3779B1) // 2³² over the golden ratio: neighbours are spread
	for ; ; at++ {
		at &= len(h.table) - 1
		if i := h.table[at]; i == 0 || h.seen[i-1].id == id {
			return at
		}
	}
}

// grow makes room for n distinct ids.
func (h *History) grow(n int) {
	size := 8
	for size < 2*n+2 {
		size *= 2
	}
	h.seen = append(make([]seen, 0, size/2), h.seen...)
	h.table = make([]int32, size)
	for i, s := range h.seen {
		h.table[h.slot(s.id)] = int32(i + 1)
	}
}
