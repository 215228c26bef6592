package kvcache

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// chain is the keys of tokens 0, 1, 2 … from a first one on.
func chain(first, tokens, blockSize int) []Key {
	ids := make([]int32, tokens)
	for i := range ids {
		ids[i] = int32(first + i)
	}
	var c Chain
	c.Extend(ids, blockSize)
	return c.Keys()
}

// filled is a table of so many tokens with all of its full blocks registered.
func filled(t testing.TB, p *Pool, keys []Key, tokens int) *Table {
	t.Helper()
	var a Table
	require.True(t, p.Grow(&a, tokens))
	for i := range keys[:tokens/p.BlockSize()] {
		p.Register(&a, i, &keys[i])
	}
	return &a
}

func TestChain(t *testing.T) {
	ids := []int32{5, 6, 7, 8, 9, 10, 11}
	var whole, steps, other, first Chain
	whole.Extend(ids, 3)
	require.Len(t, whole.Keys(), 2, "a block that is not full has no key")
	for n := range ids {
		steps.Extend(ids[:n+1], 3)
	}
	require.Equal(t, whole.Keys(), steps.Keys(), "a chain extended token by token is the same")
	other.Extend([]int32{4, 6, 7, 8, 9, 10}, 3)
	require.NotEqual(t, whole.Keys()[1], other.Keys()[1], "the same block behind another is another")
	first.Extend(ids[3:], 3)
	require.NotEqual(t, whole.Keys()[1], first.Keys()[0], "the same block at the beginning is another")

	var roomy Chain
	roomy.Reserve(3000, 3)
	long := make([]int32, 3000)
	n := 0
	require.Zero(t, testing.AllocsPerRun(900, func() { n += 3; roomy.Extend(long[:n], 3) }))
}

func TestFind(t *testing.T) {
	p, err := New(6, 2)
	require.NoError(t, err)
	keys := chain(0, 8, 2)
	require.Zero(t, p.Find(keys, 0).End())
	a := filled(t, p, keys, 7)
	for _, c := range []struct {
		name string
		keys []Key
		want int
	}{
		{"all that is registered", keys, 3},
		{"as far as asked", keys[:2], 2},
		{"as far as equal", chain(1, 8, 2), 0},
		{"nothing", nil, 0},
	} {
		m := p.Find(c.keys, 0)
		require.Equal(t, c.want, m.End(), c.name)
		require.Zero(t, m.Idle, c.name)
		require.True(t, slices.Equal(a.Blocks()[:c.want], m.Blocks), c.name)
	}
	p.Free(a)
	m := p.Find(keys, 0)
	require.Equal(t, []int{3, 3, 6}, []int{m.End(), m.Idle, p.FreeBlocks()}, "freed blocks are found until they are taken")
	var b Table
	p.Share(&b, 0, m.Blocks)
	require.Equal(t, 3, p.FreeBlocks())
	require.NoError(t, p.Check(&b))
	p.Free(&b)

	// Three blocks have no content, so the chain's last goes fourth.
	require.True(t, p.Grow(&b, 6))
	require.Equal(t, 3, p.Find(keys, 0).End())
	require.True(t, p.Grow(&b, 8))
	require.Equal(t, 2, p.Find(keys, 0).End(), "the end of a chain is taken before its beginning")
	p.Register(&b, 0, &keys[0])
	require.NotEqual(t, b.Blocks()[0], p.Find(keys, 0).Blocks[0], "who was first is found")
	require.NoError(t, p.Check(&b))
	p.Reset()
	require.Zero(t, p.Find(keys, 0).End())
	require.NoError(t, p.Check(&b))
	p.Free(&b)
	require.Equal(t, 6, p.FreeBlocks())
}

// TestLeastRecentlyUsed holds that of what was freed the oldest is taken first,
// and that use makes it young again.
func TestLeastRecentlyUsed(t *testing.T) {
	p, err := New(3, 1)
	require.NoError(t, err)
	var chains [][]Key
	for i := range 3 {
		chains = append(chains, chain(10*i, 1, 1))
		p.Free(filled(t, p, chains[i], 1))
	}
	var a Table
	p.Share(&a, 0, p.Find(chains[0], 0).Blocks)
	p.Free(&a)
	for i, gone := range []int{1, 2, 0} {
		require.True(t, p.Grow(&a, i+1))
		require.Zero(t, p.Find(chains[gone], 0).End(), "%d should be taken at %d", gone, i)
	}
}

func TestForget(t *testing.T) {
	p, err := New(8, 2)
	require.NoError(t, err)
	keys := chain(0, 8, 2)
	a := filled(t, p, keys, 8)
	var b Table
	p.Share(&b, 0, a.Blocks()[:2])
	p.Forget(&b)
	require.Zero(t, p.Find(keys, 0).End())
	p.Free(a)
	require.Zero(t, p.Find(keys, 0).End())
	require.Equal(t, 1, p.Find(keys[2:3], 2).End(), "blocks that were not the table's stay")
	require.NoError(t, p.Check(&b))
}

func TestPass(t *testing.T) {
	p, err := New(4, 3)
	require.NoError(t, err)
	var a Table
	require.True(t, p.Grow(&a, 12))
	for _, c := range []struct{ pos, passed int }{{-5, 0}, {0, 0}, {2, 0}, {3, 1}, {5, 1}, {1, 1}, {9, 3}} {
		p.Pass(&a, c.pos)
		require.Equal(t, c.passed, a.Passed(), "below %d", c.pos)
		require.Equal(t, c.passed, p.FreeBlocks())
		require.NoError(t, p.Check(&a))
	}
	require.Equal(t, []int32{Freed, Freed, Freed, 3}, a.Blocks())
	require.Equal(t, int32(10), a.Slot(10))
	require.Zero(t, p.Missing(&a, 12), "positions keep their places")
	require.True(t, p.Grow(&a, 15))
	require.Equal(t, int32(2), a.Blocks()[4], "what was let go of last is taken first")
	p.Pass(&a, 99)
	p.Free(&a)
	require.Equal(t, 4, p.FreeBlocks())
	require.NoError(t, p.Check(&a))
}

// TestFindInAWindow has blocks of a chain missing; with a window of 6, blocks of
// 2, a position sees into three blocks before its own.
func TestFindInAWindow(t *testing.T) {
	for _, c := range []struct {
		window     int
		have       []int // blocks of 8
		skip, want int   // blocks passed and blocks to be computed no more
	}{
		{6, []int{0, 1, 2, 3, 4, 5, 6, 7}, 5, 8},
		{6, []int{5, 6, 7}, 5, 8},
		{6, []int{3, 4, 5, 7}, 3, 6},
		{6, []int{2, 3, 5, 6}, 0, 0},
		{6, []int{0, 1, 3, 4, 6}, 0, 2}, // two from the beginning are all there is
		{6, []int{0}, 0, 1},
		{6, []int{}, 0, 0},
		{5, []int{4, 5}, 4, 6},
		{2, []int{4}, 4, 5},
		{1, []int{4}, 5, 5},
		{1, []int{}, 0, 0},
		{99, []int{0, 1, 2}, 0, 3},
		{99, []int{1, 2, 3}, 0, 0},
	} {
		p, err := New(16, 2)
		require.NoError(t, err)
		keys := chain(0, 16, 2)
		var a Table
		require.True(t, p.Grow(&a, 16))
		for _, i := range c.have {
			p.Register(&a, i, &keys[i])
		}
		m := p.Find(keys, c.window)
		require.Equal(t, c.skip, m.Skip, "%+v", c)
		require.Equal(t, c.want, m.End(), "%+v", c)
		require.True(t, slices.Equal(a.Blocks()[m.Skip:m.End()], m.Blocks), "%+v", c)
		var b Table
		p.Share(&b, m.Skip, m.Blocks)
		require.Equal(t, m.Skip, b.Passed())
		require.NoError(t, p.Check(&a, &b))
	}
}

// FuzzPool reads operations from bytes and holds, after each: the accounts
// check, what is found is what was registered for these tokens, and what a
// refused Grow leaves is what was there.
func FuzzPool(f *testing.F) {
	f.Add([]byte{3, 2, 0, 7, 1, 9, 130, 0, 2, 200, 0, 255})
	f.Add([]byte{15, 0, 0, 63, 64, 63, 128, 1, 192, 0, 0, 5})
	f.Add([]byte{20, 2, 0, 12, 64, 0, 160, 4, 128, 0, 1, 12, 97, 3, 192, 0, 224, 0})
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
		chains := [][]Key{chain(0, 256, p.BlockSize()), chain(1000, 256, p.BlockSize())}
		content := map[int32]Key{} // of the blocks, as the test believes
		for in = in[2:]; len(in) >= 2; in = in[2:] {
			a, keys, n := tables[in[0]%4], chains[in[0]/4%2], int(in[1])
			switch in[0] >> 5 {
			case 0, 1:
				before, free := slices.Clone(a.Blocks()), p.FreeBlocks()
				if !p.Grow(a, n) {
					require.True(t, slices.Equal(before, a.Blocks()), "a refused Grow changes nothing")
					require.Equal(t, free, p.FreeBlocks())
					require.Greater(t, p.Missing(a, n), free)
				} else {
					require.Zero(t, p.Missing(a, n))
					require.True(t, slices.Equal(before, a.Blocks()[:len(before)]), "Grow keeps what was there")
				}
			case 2:
				for i := a.Passed(); i < min(len(a.Blocks()), len(keys)); i++ {
					if b := a.Blocks()[i]; !p.index.keyed[b] {
						p.Register(a, i, &keys[i])
						content[b] = keys[i]
					}
				}
			case 3:
				if len(a.Blocks()) == 0 {
					m := p.Find(keys[:min(n, len(keys))], n%7)
					require.LessOrEqual(t, m.End(), min(n, len(keys)))
					for i, b := range m.Blocks {
						require.Equal(t, keys[m.Skip+i], content[b], "another content was found")
					}
					p.Share(a, m.Skip, m.Blocks)
				}
			case 4:
				p.Free(a)
			case 5:
				p.Pass(a, n)
			case 6:
				p.Forget(a)
			case 7:
				p.Reset()
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

// BenchmarkPrefix is what a prompt of 4,000 tokens costs: its keys, which the
// request's goroutine computes, and finding all of it, which the step waits for.
func BenchmarkPrefix(b *testing.B) {
	const tokens, size = 4000, 16
	p, err := New(4096, size)
	require.NoError(b, err)
	keys := chain(0, tokens, size)
	filled(b, p, keys, tokens)
	ids := make([]int32, tokens)
	b.Run("keys", func(b *testing.B) {
		for b.Loop() {
			var c Chain
			c.Extend(ids, size)
		}
	})
	for _, window := range []int{0, 2000} {
		b.Run(fmt.Sprintf("find/window=%d", window), func(b *testing.B) {
			for b.Loop() {
				if p.Find(keys, window).End() != tokens/size {
					b.Fatal("not found")
				}
			}
		})
	}
	b.Run("find/window=2000/missing", func(b *testing.B) {
		p.Reset()
		for b.Loop() {
			p.Find(keys, 2000)
		}
	})
}
