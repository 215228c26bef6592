package weights

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/assert"
)

func TestArena(t *testing.T) {
	var a arena
	same := func(x, y []byte) bool { return unsafe.SliceData(x) == unsafe.SliceData(y) }
	assert.Empty(t, a.take(0))
	large, small := a.take(100), a.take(10)
	assert.Len(t, large, 100)
	assert.False(t, same(large, small), "both are lent")
	a.Recycle(make([]byte, 1000)) // of another origin
	a.Recycle(nil)
	assert.False(t, same(a.take(1000), large))
	a.Recycle(large)
	a.Recycle(large) // a second time
	a.Recycle(small)
	again := a.take(9)
	assert.True(t, same(again, small), "the smallest that is large enough")
	assert.Len(t, again, 9)
	assert.Equal(t, 9, cap(again))
	other := a.take(9)
	assert.True(t, same(other, large))
	a.Recycle(other)
	assert.True(t, same(a.take(100), large), "all of it, whatever was taken of it")
	a.Recycle(large)
	a.drop()
	assert.False(t, same(a.take(100), large))
}
