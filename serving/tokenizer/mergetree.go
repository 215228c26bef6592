package tokenizer

// tree merges the symbols of a window. Over them stands a tree of fanout 16 in
// which every node has the lowest key below it: the next merge is at the root,
// and a merge changes one or two nodes of each level. So n symbols take n log n
// time, with a logarithm of 2 for a usual window, and nothing in it is ever out
// of date, as entries of a queue are. The zero value is ready, and keeps its
// memory from one window to the next.
type tree struct {
	ids    []int32    // [n] the token that begins at each place, where one does
	into   []int32    // [n] what it becomes with the one after it, where there is a key
	links  []link     // [n]
	levels [][]uint64 // keys: [n], then a 16th of the level before each, down to 1; padded with noKey
}

// link has the places of the tokens before and after one, -1 and n for none.
type link struct{ before, after int32 }

// A key is a rank above a place: keys are in the order that merges go in.
const noKey uint64 = 1<<64 - 1

const fanout = 16

// after returns the place after the token at a place.
func (t *tree) after(at int) int { return int(t.links[at].after) }

// merge merges symbols, of which some may be complemented. The tokens are then
// ids[0], ids[after(0)] and so on.
func (t *tree) merge(m *merges, symbols []int32) {
	t.reset(m, symbols)
	n := int32(len(symbols))
	top := t.levels[len(t.levels)-1]
	for top[0] != noKey {
		at := int32(uint32(top[0]))
		right := t.links[at].after
		after := t.links[right].after
		before := t.links[at].before
		t.ids[at] = t.into[at]
		t.links[at].after = after
		t.levels[0][right] = noKey
		t.levels[0][at] = noKey
		if after < n {
			t.links[after].before = at
			t.consider(m, at, after)
		}
		if before >= 0 {
			t.levels[0][before] = noKey
			t.consider(m, before, at)
			if before/fanout != at/fanout {
				t.update(before)
			}
		}
		t.update(at)
		if right/fanout != at/fanout {
			t.update(right)
		}
	}
}

// reset makes the tree that of symbols.
func (t *tree) reset(m *merges, symbols []int32) {
	n := len(symbols)
	t.ids, t.into, t.links = resized(t.ids, n), resized(t.into, n), resized(t.links, n)
	t.levels = t.levels[:0]
	for size := n; ; size = (size + fanout - 1) / fanout {
		depth := len(t.levels)
		if depth == cap(t.levels) {
			t.levels = append(t.levels, nil)
		}
		t.levels = t.levels[:depth+1]
		t.levels[depth] = resized(t.levels[depth], (size+fanout-1)/fanout*fanout)
		if size <= 1 {
			break
		}
	}
	for i, s := range symbols {
		t.ids[i] = max(s, ^s)
		t.links[i] = link{int32(i) - 1, int32(i) + 1}
	}
	keys := t.levels[0]
	for i := range keys {
		keys[i] = noKey
		if i+1 < n {
			t.consider(m, int32(i), int32(i)+1)
		}
	}
	for l, nodes := range t.levels[1:] {
		for i := range nodes {
			nodes[i] = noKey
			if i*fanout < len(t.levels[l]) {
				nodes[i] = least((*[fanout]uint64)(t.levels[l][i*fanout:]))
			}
		}
	}
}

// consider sets the key of a token by what it and the one after it become.
func (t *tree) consider(m *merges, at, after int32) {
	if found := m.lookup(t.ids[at], t.ids[after]); found.rank != noMerge {
		t.levels[0][at] = uint64(uint32(found.rank))<<32 | uint64(uint32(at))
		t.into[at] = found.id
	}
}

// update brings the nodes above a place up to date.
func (t *tree) update(at int32) {
	i := int(at) / fanout
	for l := 1; l < len(t.levels); l++ {
		key := least((*[fanout]uint64)(t.levels[l-1][i*fanout:]))
		if t.levels[l][i] == key {
			return
		}
		t.levels[l][i] = key
		i /= fanout
	}
}

// least returns the lowest of a node's keys.
func least(k *[fanout]uint64) uint64 {
	a := min(min(k[0], k[1]), min(k[2], k[3]))
	b := min(min(k[4], k[5]), min(k[6], k[7]))
	c := min(min(k[8], k[9]), min(k[10], k[11]))
	d := min(min(k[12], k[13]), min(k[14], k[15]))
	return min(min(a, b), min(c, d))
}

// resized returns s with n elements of any value.
func resized[E any](s []E, n int) []E {
	if cap(s) < n {
		return make([]E, n)
	}
	return s[:n]
}
