package kvcache

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNewRefuses(t *testing.T) {
	for _, c := range []struct{ blocks, size int }{
		{0, 16}, {-1, 16}, {8, 0}, {8, -4}, {math.MaxInt32, 2}, {math.MaxInt, 16},
	} {
		_, err := New(c.blocks, c.size)
		require.Errorf(t, err, "for %d blocks of %d", c.blocks, c.size)
	}
}

func TestGrowIsAllOrNothing(t *testing.T) {
	p, err := New(4, 3)
	require.NoError(t, err)
	var a, b Table
	for _, c := range []struct {
		table  *Table
		tokens int
		ok     bool
		free   int
	}{
		{&a, 0, true, 4},
		{&a, 1, true, 3},
		{&a, 3, true, 3},
		{&a, 4, true, 2},
		{&b, 10, false, 2}, // 4 blocks wanted, 2 free
		{&b, 6, true, 0},
		{&b, 5, true, 0}, // shrinks nothing
		{&a, 7, false, 0},
	} {
		got := p.Grow(c.table, c.tokens)
		require.Equalf(t, c.ok, got, "Grow to %d tokens", c.tokens)
		require.Equalf(t, c.free, p.FreeBlocks(), "free after Grow to %d tokens", c.tokens)
		require.NoError(t, p.Check(&a, &b))
	}
	require.Equal(t, []int32{0, 1}, a.Blocks())
	require.Equal(t, []int32{2, 3}, b.Blocks())
	require.Equal(t, int32(8), b.Slot(2))
	require.Equal(t, int32(9), b.Slot(3))
	p.Free(&a)
	p.Free(&b)
	require.Equal(t, 4, p.FreeBlocks())
	require.NoError(t, p.Check())
}

func TestShare(t *testing.T) {
	p, err := New(4, 2)
	require.NoError(t, err)
	var a, b Table
	require.True(t, p.Grow(&a, 5))
	p.Share(&b, 0, a.Blocks()[:2])
	require.True(t, p.Grow(&b, 5))
	require.NoError(t, p.Check(&a, &b))
	require.Equal(t, a.Slot(3), b.Slot(3), "shared positions have one slot")
	require.NotEqual(t, a.Slot(4), b.Slot(4), "positions behind them do not")
	require.Panics(t, func() { p.Share(&b, 0, a.Blocks()) }, "into a table that is not empty")
	p.Free(&a)
	require.NoError(t, p.Check(&b))
	require.Equal(t, 1, p.FreeBlocks(), "shared blocks outlive the table that was there first")
	p.Free(&b)
	require.Equal(t, 4, p.FreeBlocks())
	require.Panics(t, func() { p.Share(&b, 0, []int32{1}) }, "of a free block")
}

// TestCheckFinds breaks the accounts in every way that Check names.
func TestCheckFinds(t *testing.T) {
	for _, c := range []struct {
		name    string
		corrupt func(p *Pool, a, b *Table)
	}{
		{"lost", func(p *Pool, _, _ *Table) { p.free.remove(p.free.first()) }},
		{"free twice", func(p *Pool, _, _ *Table) { b := p.free.first(); p.free.next[p.free.prev[p.free.end()]] = b }},
		{"free list's count", func(p *Pool, _, _ *Table) { p.free.len++ }},
		{"free list's links", func(p *Pool, _, _ *Table) { p.free.prev[p.free.next[p.free.first()]] = 0 }},
		{"free and held", func(p *Pool, a, _ *Table) { p.free.pushBack(a.blocks[0]) }},
		{"in two tables", func(_ *Pool, a, b *Table) { b.blocks[0] = a.blocks[0] }},
		{"twice in one", func(_ *Pool, a, _ *Table) { a.blocks[1] = a.blocks[0] }},
		{"no such block", func(_ *Pool, a, _ *Table) { a.blocks[0] = 99 }},
		{"freed in the middle", func(_ *Pool, a, _ *Table) { a.blocks[1] = Freed }},
		{"passed, not freed", func(_ *Pool, a, _ *Table) { a.passed = 1 }},
		{"not found", func(p *Pool, _, _ *Table) { *p.index.bucket(&Key{1}) = none }},
		{"two of a key", func(p *Pool, a, _ *Table) { p.index.add(a.blocks[0], &Key{1}) }},
		{"no key", func(p *Pool, _, b *Table) { p.index.keyed[b.blocks[0]] = false }},
		{"leaked reference", func(p *Pool, a, _ *Table) { p.refs[a.blocks[0]]++ }},
	} {
		p, err := New(8, 2)
		require.NoError(t, err)
		var a, b Table
		require.True(t, p.Grow(&a, 4))
		require.True(t, p.Grow(&b, 2))
		p.Register(&b, 0, &Key{1})
		require.NoError(t, p.Check(&a, &b))
		c.corrupt(p, &a, &b)
		require.ErrorIsf(t, p.Check(&a, &b), ErrInconsistent, "for %s", c.name)
	}
}

func BenchmarkGrowFree(b *testing.B) {
	p, err := New(4096, 16)
	require.NoError(b, err)
	var t Table
	b.ReportAllocs()
	for b.Loop() {
		p.Grow(&t, 1024)
		p.Free(&t)
	}
}
