package telemetry

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const statLine = "1234 (a (b) c) S 77 1 1 0 -1 4194560 100 0 0 0 25 50 100 200 20 0 9 0 987654 1000000 300 18446744073709551615 1 1 0 0 0\n"

func TestParseStat(t *testing.T) {
	p, err := parseStat([]byte(statLine))
	require.NoError(t, err)
	assert.Equal(t, proc{pid: 1234, ppid: 77, start: 987654, rss: 300 * int64(os.Getpagesize()),
		own: 750 * time.Millisecond, waited: 3 * time.Second}, p)

	for _, bad := range []string{"", "12", ") (", "x (a) S 1", "1 (a) S 1 1 1",
		"1 (a) S x 1 1 0 -1 4194560 100 0 0 0 25 50 100 200 20 0 9 0 987654 1000000 300 0",
		"1 (a) S 1 1 1 0 -1 4194560 100 0 0 0 9223372036854775807 50 100 200 20 0 9 0 987654 1000000 300 0"} {
		_, err := parseStat([]byte(bad))
		assert.Error(t, err, bad)
	}
}

func TestParsePSS(t *testing.T) {
	n, err := parsePSS([]byte("00-ff ---p 00000000 00:00 0   [rollup]\nRss:                1672 kB\nPss:                 301 kB\nPss_Dirty: 1 kB\n"))
	require.NoError(t, err)
	assert.Equal(t, int64(301<<10), n)
	_, err = parsePSS(nil)
	assert.True(t, gone(err))
	for _, bad := range []string{"x", "Pss:\n", "Pss: -1 kB\n", "Pss: 99999999999999999999 kB\n"} {
		_, err = parsePSS([]byte(bad))
		assert.Error(t, err, bad)
	}
}

func TestSystemReadsItself(t *testing.T) {
	p, err := system{}.read(os.Getpid())
	require.NoError(t, err)
	assert.Equal(t, os.Getpid(), p.pid)
	assert.Equal(t, os.Getppid(), p.ppid)
	assert.Positive(t, p.rss)
	all, err := system{}.all()
	require.NoError(t, err)
	found := false
	for _, q := range all {
		found = found || q.id() == p.id()
	}
	assert.True(t, found)
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte(statLine))
	f.Add([]byte("1 () Z"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := parseStat(data)
		if err == nil && (p.pid <= 0 || p.own < 0 || p.waited < 0 || p.rss < 0) {
			t.Errorf("%+v of %q", p, data)
		}
	})
}

func FuzzParsePSS(f *testing.F) {
	f.Add([]byte("Pss:   301 kB\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n, err := parsePSS(data); err == nil && n < 0 {
			t.Errorf("%d of %q", n, data)
		}
	})
}

// What one sample at 10 Hz costs, and one look for new processes.
func BenchmarkSample(b *testing.B) {
	tr, err := newTree(system{}, os.Getpid())
	require.NoError(b, err)
	b.Run("sample", func(b *testing.B) {
		for b.Loop() {
			_, _ = tr.sample()
		}
	})
	b.Run("grow", func(b *testing.B) {
		for b.Loop() {
			_ = tr.grow()
		}
	})
	b.Run("pss", func(b *testing.B) {
		for b.Loop() {
			_, _ = tr.pss()
		}
	})
}
