package weights

import (
	"sync"
	"unsafe"
)

// Recycler is a Checkpoint that makes tensors in memory of its own, drawn or
// restored from another form. It takes that memory back for those to come, so
// that a model of any size is loaded in a few buffers: a page of new memory costs
// the system more than drawing the numbers that it holds.
type Recycler interface {
	// Recycle gives back the Data of a tensor that the checkpoint returned,
	// which must not be touched afterwards. Data of any other origin is ignored.
	Recycle(data []byte)
}

// arena lends memory. Its zero value is ready; several goroutines may use it.
type arena struct {
	mu   sync.Mutex
	free [][]byte
	lent map[*byte][]byte // by the first byte
}

// take lends n bytes, which hold anything.
func (a *arena) take(n int) []byte {
	if n == 0 {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	best := -1
	for i, b := range a.free {
		if len(b) >= n && (best < 0 || len(b) < len(a.free[best])) {
			best = i
		}
	}
	var b []byte
	if best >= 0 {
		last := len(a.free) - 1
		b, a.free[best] = a.free[best], a.free[last]
		a.free = a.free[:last]
	} else {
		b = make([]byte, n)
	}
	if a.lent == nil {
		a.lent = map[*byte][]byte{}
	}
	a.lent[unsafe.SliceData(b)] = b
	return b[:n:n]
}

// Recycle takes back what take lent, and ignores other memory.
func (a *arena) Recycle(data []byte) {
	a.mu.Lock()
	defer a.mu.Unlock()
	first := unsafe.SliceData(data)
	if b, ok := a.lent[first]; ok {
		delete(a.lent, first)
		a.free = append(a.free, b)
	}
}

// drop lets go of all memory that is not lent.
func (a *arena) drop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free = nil
}
