package tokenizer

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"golang.org/x/text/unicode/norm"
)

func TestNFC(t *testing.T) {
	g := readGolden(t)
	want := g.NFC
	for i, block := range g.randomTexts(g.Blocks[0]) {
		if !taken(i) {
			continue
		}
		var all strings.Builder
		for _, text := range block {
			all.WriteString(nfc(text))
		}
		assert.Equal(t, want.Blocks[i], hashText(all.String()), "random texts, block %d", i)
	}
	for plane, hash := range want.Planes {
		if !taken(plane) {
			continue
		}
		var all strings.Builder
		for r := rune(plane << 16); r < rune(plane+1)<<16; r++ {
			if !utf8.ValidRune(r) {
				continue
			}
			c := string(r)
			for _, s := range []string{"a" + c + "\u0301\u0323", "\u1100" + c} {
				all.WriteString(nfc(s))
			}
		}
		assert.Equal(t, hash, hashText(all.String()), "plane %d: has Unicode moved on in golang.org/x/text? See laterMarks", plane)
	}
	for _, c := range want.Crowded {
		assert.Equal(t, c[1], nfc(c[0]), "%+q", c[0])
	}
}

// FuzzNFC compares the two ways to normalise, where x/text has no limit.
func FuzzNFC(f *testing.F) {
	f.Add("a\u0301\u0323\uac00\u11a8\u0344\u0f73e")
	f.Fuzz(func(t *testing.T, s string) {
		s = validText(s)
		if got := nfc(nfc(s)); got != nfc(s) {
			t.Errorf("%+q again: %+q", nfc(s), got)
		}
		if utf8.RuneCountInString(s) < 10 {
			if got, want := nfcCrowded(s), norm.NFC.String(s); got != want {
				t.Errorf("%+q: got %+q, want %+q", s, got, want)
			}
		}
	})
}
