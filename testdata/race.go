//go:build race

package testdata

// Race is whether the race detector is on, which makes code that touches much
// memory several times slower: tests of one goroutine's arithmetic may do less.
const Race = true
