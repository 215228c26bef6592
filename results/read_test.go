package results

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestReadRequests(t *testing.T) {
	var b bytes.Buffer
	pass := randomPass(rand.New(rand.NewPCG(3, 3)), streamCase, 0, 4)
	for i := range pass {
		require.NoError(t, encodeLine(&b, &pass[i]))
	}
	read := func(text string) (reqs []Request, err error) {
		for r, e := range ReadRequests(strings.NewReader(text)) {
			if e != nil {
				return reqs, e
			}
			reqs = append(reqs, r)
		}
		return reqs, nil
	}
	got, err := read(b.String())
	require.NoError(t, err)
	assert.Equal(t, pass, got)

	got, err = read(b.String()[:b.Len()-20])
	require.ErrorIs(t, err, ErrCut)
	require.ErrorContains(t, err, "line 4")
	assert.Equal(t, pass[:3], got)

	got, err = read(strings.TrimSuffix(b.String(), "\n"))
	require.NoError(t, err, "only the newline is missing")
	assert.Len(t, got, 4)

	_, err = read("\n\n{}\n")
	require.ErrorContains(t, err, "line 3: mode")
	_, err = read("{\n" + b.String())
	require.ErrorContains(t, err, "line 1")
	require.NotErrorIs(t, err, ErrCut, "a bad line amid others is no crash")
	got, err = read("")
	require.NoError(t, err)
	assert.Empty(t, got)

	var passes [][]Request
	second := randomPass(rand.New(rand.NewPCG(4, 4)), streamCase, 1, 2)
	for p, err := range Passes(func(yield func(Request, error) bool) {
		for _, r := range append(slices.Clone(pass), second...) {
			if !yield(r, nil) {
				return
			}
		}
		yield(Request{}, ErrCut)
	}) {
		if err != nil {
			require.ErrorIs(t, err, ErrCut)
			break
		}
		passes = append(passes, p)
	}
	assert.Equal(t, [][]Request{pass, second}, passes)
}

func FuzzReadRequests(f *testing.F) {
	var b bytes.Buffer
	for i := range 2 { // short, so that the fuzzer gets far
		r := stream(0, 100*ms, 110*ms)
		r.Repeat = i
		require.NoError(f, encodeLine(&b, r))
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:b.Len()/2])
	f.Add([]byte("{}\n\x00\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		for pass, err := range Passes(ReadRequests(bytes.NewReader(data))) {
			if err != nil {
				continue
			}
			s := Summarize(pass, Options{})
			for column, v := range s.figures {
				if v != v || v < 0 || v > 1e19 {
					t.Errorf("%s is %v", column, v)
				}
			}
			s.Values()
			if err := WriteCSV(new(bytes.Buffer), false, &s); err != nil {
				t.Error(err)
			}
		}
	})
}
