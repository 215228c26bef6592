package kvcache

import (
	"math"
	"slices"
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
	p.Share(&b, a.Blocks()[:2])
	require.True(t, p.Grow(&b, 5))
	require.NoError(t, p.Check(&a, &b))
	require.Equal(t, a.Slot(3), b.Slot(3), "shared positions have one slot")
	require.NotEqual(t, a.Slot(4), b.Slot(4), "positions behind them do not")
	require.Panics(t, func() { p.Share(&b, a.Blocks()) }, "into a table that is not empty")
	p.Free(&a)
	require.NoError(t, p.Check(&b))
	require.Equal(t, 1, p.FreeBlocks(), "shared blocks outlive the table that was there first")
	p.Free(&b)
	require.Equal(t, 4, p.FreeBlocks())
	require.Panics(t, func() { p.Share(&b, []int32{1}) }, "of a free block")
}

// TestCheckFinds breaks the accounts in every way that Check names.
func TestCheckFinds(t *testing.T) {
	for _, c := range []struct {
		name    string
		corrupt func(p *Pool, a, b *Table)
	}{
		{"lost", func(p *Pool, _, _ *Table) { p.free = p.free[1:] }},
		{"free twice", func(p *Pool, _, _ *Table) { p.free = append(p.free, p.free[0]) }},
		{"free and held", func(p *Pool, a, _ *Table) { p.free = append(p.free, a.blocks[0]) }},
		{"in two tables", func(_ *Pool, a, b *Table) { b.blocks[0] = a.blocks[0] }},
		{"twice in one", func(_ *Pool, a, _ *Table) { a.blocks[1] = a.blocks[0] }},
		{"no such block", func(_ *Pool, a, _ *Table) { a.blocks[0] = 99 }},
		{"leaked reference", func(p *Pool, a, _ *Table) { p.refs[a.blocks[0]]++ }},
	} {
		p, err := New(8, 2)
		require.NoError(t, err)
		var a, b Table
		require.True(t, p.Grow(&a, 4))
		require.True(t, p.Grow(&b, 2))
		require.NoError(t, p.Check(&a, &b))
		c.corrupt(p, &a, &b)
		require.ErrorIsf(t, p.Check(&a, &b), ErrInconsistent, "for %s", c.name)
	}
}

// FuzzPool reads operations from bytes and holds, after each: the accounts
// check, no slot belongs to two tables unless shared, and what a refused Grow
// leaves is what was there.
func FuzzPool(f *testing.F) {
	f.Add([]byte{3, 2, 0, 7, 1, 9, 130, 0, 2, 200, 0, 255})
	f.Add([]byte{15, 0, 0, 63, 64, 63, 128, 1, 192, 0, 0, 5})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 2 {
			return
		}
		p, err := New(1+int(in[0]%32), 1+int(in[1]%5))
		require.NoError(t, err)
		tables := make([]*Table, 4)
		for i := range tables {
			tables[i] = &Table{}
		}
		for in = in[2:]; len(in) >= 2; in = in[2:] {
			a, b := tables[in[0]%4], tables[in[0]/4%4]
			switch in[0] >> 6 {
			case 0, 1:
				before, free := slices.Clone(a.Blocks()), p.FreeBlocks()
				if !p.Grow(a, int(in[1])) {
					require.True(t, slices.Equal(before, a.Blocks()), "a refused Grow changes nothing")
					require.Equal(t, free, p.FreeBlocks())
					require.Greater(t, p.Missing(a, int(in[1])), free)
				} else {
					require.Zero(t, p.Missing(a, int(in[1])))
					require.True(t, slices.Equal(before, a.Blocks()[:len(before)]), "Grow keeps what was there")
				}
			case 2:
				p.Free(a)
			case 3:
				if len(a.Blocks()) == 0 && a != b {
					p.Share(a, b.Blocks()[:min(len(b.Blocks()), int(in[1]))])
				}
			}
			require.NoError(t, p.Check(tables...))
		}
		for _, a := range tables {
			p.Free(a)
		}
		require.NoError(t, p.Check())
		require.Equal(t, p.Blocks(), p.FreeBlocks())
	})
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
