package tokenizer

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/weights/gguf/gguftest"
	"servebench/testdata"
)

// golden is testdata/tokenizer/vectors.json, which its "command" makes with the
// tokenizers package.
type golden struct {
	Hard        []string
	Repeated    [][2]any    // text, how often
	Invalid     []string    // text that is no UTF-8, in hexadecimal
	Words       [][2]string // name, characters to draw from
	Alphabet    []string    // what random texts are made of
	Blocks      [3]int      // of random texts: how many, of how many texts, of how many pieces at most
	Classes     string
	Splits      []splitGolden
	NFC         nfcGolden  `json:"nfc"`
	GPT2        realGolden `json:"gpt2"`
	CodeGen     realGolden
	SmolLM2     realGolden `json:"smollm2"`
	SmolLM2JSON realGolden `json:"smollm2_json"`
	Tiny        map[string]any
	Texts       []string
	Trained     []trainedGolden
	Variants    []variantGolden
}

// realGolden is what a published vocabulary makes of the hard and of the real text.
type realGolden struct {
	Special  [][]int32 // of Hard, special tokens recognised
	Plain    [][]int32 // of Hard, special tokens as text
	Invalid  [][]int32
	Repeated []string // hashes of ids
	Words    []string
	Blocks   []string // of random texts
	Decode   []decodeGolden
	Rows     map[string][]string // by file, a hash of each row's ids
}

type decodeGolden struct {
	IDs     []int32
	Text    string
	Skipped string // without special tokens
}

// splitGolden has, for each block of random texts, a hash over the lengths of the
// pieces that a pattern divides them into.
type splitGolden struct {
	Pattern string
	Blocks  []string
}

// nfcGolden has hashes of texts' normalisations: of blocks of random ones, and of
// every code point in between marks.
type nfcGolden struct {
	Blocks, Planes []string
	Crowded        [][2]string // text, its normalisation
}

// trainedGolden is a small vocabulary with one of the published patterns.
type trainedGolden struct {
	realGolden
	Name string
	File json.RawMessage // tokenizer.json
}

// variantGolden is what the tiny vocabulary, with some keys of tokenizer.json
// changed, makes of Texts.
type variantGolden struct {
	Name                   string
	Top, Model             map[string]any
	Special, Plain, Prompt [][]int32
	Blocks                 []string
	Decode                 []decodeGolden
}

// readOnce returns what reads a file of vectors: once, since it is large and nobody changes it.
func readOnce[T any](name string) func(t testing.TB) *T {
	read := sync.OnceValues(func() (*T, error) {
		data, err := os.ReadFile(testdata.Path("tokenizer", name))
		if err != nil {
			return nil, err
		}
		v := new(T)
		return v, json.Unmarshal(data, v)
	})
	return func(t testing.TB) *T {
		t.Helper()
		v, err := read()
		require.NoError(t, err)
		return v
	}
}

var readGolden = readOnce[golden]("vectors.json")

// hashIDs is the vectors' hash over ids.
func hashIDs(ids []int32) string {
	data := make([]byte, 0, 4*len(ids))
	for _, id := range ids {
		data = binary.LittleEndian.AppendUint32(data, uint32(id))
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])[:8]
}

// hashText is the vectors' hash over a text.
func hashText(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:8]
}

// taken reports whether a test of many cases of one kind takes the i-th. Under the
// race detector, which is several times slower and sees nothing in what one
// goroutine does, it is every eighth; `make test` runs these tests without it too.
func taken(i int) bool { return !testdata.Race || i%8 == 0 }

// splitmix gives the random numbers of the script that made the vectors.
type splitmix uint64

func (s *splitmix) below(n int) int {
	*s += 0x9e3779b97f4a7c15
	z := uint64(*s)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return int((z ^ z>>31) % uint64(n))
}

// randomTexts are the script's random_texts, the first blocks of them.
func (g *golden) randomTexts(blocks int) [][]string {
	randomOnce.Do(func() { randomBlocks = g.makeRandomTexts(g.Blocks[0]) })
	return randomBlocks[:blocks]
}

// Random texts are made once: most tests use them.
var (
	randomOnce   sync.Once
	randomBlocks [][]string
)

func (g *golden) makeRandomTexts(blocks int) [][]string {
	rng := splitmix(1)
	texts := make([][]string, blocks)
	for i := range texts {
		for range g.Blocks[1] {
			var text strings.Builder
			last := ""
			for range 1 + rng.below(g.Blocks[2]) {
				if last == "" || rng.below(4) > 0 {
					last = g.Alphabet[rng.below(len(g.Alphabet))]
				}
				text.WriteString(last)
			}
			texts[i] = append(texts[i], text.String())
		}
	}
	return texts
}

// checkBlocks compares a hash of what each block of random texts becomes.
func (g *golden) checkBlocks(t *testing.T, want []string, ids func(text string) []int32) {
	t.Helper()
	require.NotEmpty(t, want)
	for i, block := range g.randomTexts(len(want)) {
		if !taken(i) {
			continue
		}
		var all []int32
		for _, text := range block {
			all = append(all, ids(text)...)
		}
		assert.Equal(t, want[i], hashIDs(all), "random texts, block %d", i)
	}
}

// longWord returns the script's text of a character set, by its number.
func (g *golden) longWord(i int) string {
	rng, characters := splitmix(i), []rune(g.Words[i][1])
	word := make([]rune, 100_000/utf8.RuneLen(characters[0]))
	for i := range word {
		word[i] = characters[rng.below(len(characters))]
	}
	return string(word)
}

// published opens the vocabularies that the vectors were made with.
var published = []struct {
	name   string
	open   func(t testing.TB) *Tokenizer
	golden func(g *golden) *realGolden
}{
	{"gpt2", openGPT2, func(g *golden) *realGolden { return &g.GPT2 }},
	{"codegen", codeGenGGUF, func(g *golden) *realGolden { return &g.CodeGen }},
	{"codegen_json", codeGenJSON, func(g *golden) *realGolden { return &g.CodeGen }},
	{"smollm2", func(t testing.TB) *Tokenizer {
		return opened(t, testdata.Peers(t, "models", "smollm2-bf16.gguf"))
	}, func(g *golden) *realGolden { return &g.SmolLM2 }},
	{"smollm2_json", func(t testing.TB) *Tokenizer {
		return opened(t, testdata.Peers(t, "models", "smollm2"))
	}, func(g *golden) *realGolden { return &g.SmolLM2JSON }},
}

func openGPT2(t testing.TB) *Tokenizer {
	return opened(t, testdata.Shared(t, "tokenizers", "gpt-2.gguf"))
}

// openedOnce keeps what was opened: several tests use the same vocabulary.
var openedOnce sync.Map

func opened(t testing.TB, path string) *Tokenizer {
	t.Helper()
	if tok, ok := openedOnce.Load(path); ok {
		return tok.(*Tokenizer)
	}
	tok, err := Open(path)
	require.NoError(t, err)
	openedOnce.Store(path, tok)
	return tok
}

func TestPublished(t *testing.T) {
	g := readGolden(t)
	for _, p := range published {
		t.Run(p.name, func(t *testing.T) {
			g.check(t, p.open(t), p.golden(g))
		})
	}
}

// TestTrained compares the published patterns that no published vocabulary here
// has, read from tokenizer.json and from GGUF.
func TestTrained(t *testing.T) {
	g := readGolden(t)
	for _, c := range g.Trained {
		t.Run(c.Name+"/json", func(t *testing.T) {
			tok, err := FromFolder(folder(t, map[string]string{"tokenizer.json": string(c.File)}))
			require.NoError(t, err)
			g.check(t, tok, &c.realGolden)
			assert.Equal(t, []int32{0}, tok.EncodePrompt(""))
		})
		t.Run(c.Name+"/gguf", func(t *testing.T) {
			tok, err := Open(c.gguf(t))
			require.NoError(t, err)
			g.check(t, tok, &c.realGolden)
			if c.Name == "llama3" {
				assert.Equal(t, []int32{0}, tok.EncodePrompt(""), "a prompt begins with the beginning-of-sequence token though the file does not say so")
			} else {
				assert.Empty(t, tok.EncodePrompt(""))
			}
		})
	}
}

// gguf writes the vocabulary as llama.cpp's converter does, which leaves out the
// normaliser, ignore_merges and the post-processor: the name of the pre-tokeniser
// stands for them.
func (c *trainedGolden) gguf(t testing.TB) string {
	t.Helper()
	var file struct {
		Model struct {
			Vocab  map[string]int
			Merges [][2]string
		}
		Added []addedToken `json:"added_tokens"`
	}
	require.NoError(t, json.Unmarshal(c.File, &file))
	tokens, types := make([]string, len(file.Model.Vocab)), make([]int32, len(file.Model.Vocab))
	for text, id := range file.Model.Vocab {
		tokens[id], types[id] = text, 1 // normal
	}
	for _, a := range file.Added {
		types[a.ID] = typeControl
	}
	merges := make([]string, len(file.Model.Merges))
	for i, m := range file.Model.Merges {
		merges[i] = m[0] + " " + m[1]
	}
	pre := map[string]string{"llama3": "llama-bpe", "qwen2": "qwen2"}[c.Name]
	return gguftest.New().Set(keyModel, "gpt2").Set(keyPre, pre).Set(keyTokens, tokens).Set(keyMerges, merges).
		Set(keyTypes, types).Set(keyBOS, uint32(0)).Set(keyEOS, uint32(1)).Write(t)
}

// check compares everything but the real rows.
func (g *golden) check(t *testing.T, tok *Tokenizer, want *realGolden) {
	for i, text := range g.Hard {
		checkIDs(t, text, tok.Encode(text, true), want.Special[i])
		checkIDs(t, text, tok.Encode(text, false), want.Plain[i])
	}
	for i, digits := range g.Invalid {
		text, err := hex.DecodeString(digits)
		require.NoError(t, err)
		checkIDs(t, string(text), tok.Encode(string(text), true), want.Invalid[i])
	}
	for i, r := range g.Repeated {
		if !taken(i) {
			continue
		}
		text := strings.Repeat(r[0].(string), int(r[1].(float64)))
		assert.Equal(t, want.Repeated[i], hashIDs(tok.Encode(text, true)), "%q × %v", r[0], r[1])
	}
	for i, w := range g.Words {
		if !taken(i) {
			continue
		}
		assert.Equal(t, want.Words[i], hashIDs(tok.Encode(g.longWord(i), true)), "a word of %s", w[0])
	}
	g.checkBlocks(t, want.Blocks, func(text string) []int32 { return tok.Encode(text, true) })
	checkDecode(t, tok, want.Decode)
}

func checkIDs(t *testing.T, text string, got, want []int32) {
	t.Helper()
	if len(got)+len(want) > 0 {
		assert.Equal(t, want, got, "ids of %q", text)
	}
}

func checkDecode(t *testing.T, tok *Tokenizer, cases []decodeGolden) {
	t.Helper()
	for _, c := range cases {
		assert.Equal(t, c.Text, tok.Decode(c.IDs, false), "text of %v", c.IDs)
		assert.Equal(t, c.Skipped, tok.Decode(c.IDs, true), "text of %v without specials", c.IDs)
		checkStream(t, tok, c.IDs)
	}
}

func TestRealRows(t *testing.T) {
	g := readGolden(t)
	for _, p := range published {
		t.Run(p.name, func(t *testing.T) {
			tok, want := p.open(t), p.golden(g)
			t.Logf("%d rows have the original's ids", checkRows(t, tok, want, strings.HasPrefix(p.name, "gpt2")))
		})
	}
	for _, c := range g.Trained {
		t.Run(c.Name, func(t *testing.T) {
			tok, err := FromFolder(folder(t, map[string]string{"tokenizer.json": string(c.File)}))
			require.NoError(t, err)
			t.Logf("%d rows have the original's ids", checkRows(t, tok, &c.realGolden, false))
		})
	}
}

// checkRows compares the ids of the real rows, and with back their text again, and returns how many rows there are.
func checkRows(t *testing.T, tok *Tokenizer, want *realGolden, back bool) (rows int) {
	t.Helper()
	for file, hashes := range want.Rows {
		texts := rowTexts(t, file)
		require.Len(t, texts, len(hashes), file)
		for i, row := range texts {
			if !taken(i) {
				continue
			}
			var ids []int32
			for _, text := range row {
				got := tok.Encode(text, true)
				if back {
					assert.Equal(t, text, tok.Decode(got, false), "%s row %d", file, i)
				}
				ids = append(ids, got...)
			}
			assert.Equal(t, hashes[i], hashIDs(ids), "%s row %d", file, i)
			rows++
		}
	}
	return rows
}

// rowTexts returns the texts of each row of a real dataset file, as the script that made the vectors takes them.
func rowTexts(t testing.TB, file string) [][]string {
	t.Helper()
	f, err := os.Open(testdata.Shared(t, append([]string{"data"}, strings.Split(file, "/")...)...))
	require.NoError(t, err)
	defer f.Close()
	var rows [][]string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r struct {
			Text, Article, Highlights, Question, Prompt, Test string
			Solution                                          string `json:"canonical_solution"`
			Answer                                            struct{ Aliases []string }
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &r))
		switch {
		case strings.HasPrefix(file, "oasst1"):
			rows = append(rows, []string{r.Text})
		case strings.HasPrefix(file, "cnn_dailymail"):
			rows = append(rows, []string{r.Article, r.Highlights})
		case strings.HasPrefix(file, "trivia_qa"):
			rows = append(rows, append([]string{r.Question}, r.Answer.Aliases...))
		default:
			rows = append(rows, []string{r.Prompt, r.Solution, r.Test})
		}
	}
	require.NoError(t, lines.Err())
	return rows
}

// variant returns the tokenizer of the tiny vocabulary with keys changed.
func (g *golden) variant(t testing.TB, top, model map[string]any) *Tokenizer {
	t.Helper()
	v, err := parseJSON(g.variantJSON(t, top, model))
	require.NoError(t, err)
	tok, err := v.tokenizer()
	require.NoError(t, err)
	return tok
}

func (g *golden) variantJSON(t testing.TB, top, model map[string]any) []byte {
	t.Helper()
	file := maps.Clone(g.Tiny)
	maps.Copy(file, top)
	m := maps.Clone(file["model"].(map[string]any))
	maps.Copy(m, model)
	file["model"] = m
	data, err := json.Marshal(file)
	require.NoError(t, err)
	return data
}

func TestVariants(t *testing.T) {
	g := readGolden(t)
	for _, v := range g.Variants {
		t.Run(v.Name, func(t *testing.T) {
			tok := g.variant(t, v.Top, v.Model)
			for i, text := range g.Texts {
				checkIDs(t, text, tok.Encode(text, true), v.Special[i])
				checkIDs(t, text, tok.Encode(text, false), v.Plain[i])
				checkIDs(t, text, tok.EncodePrompt(text), v.Prompt[i])
			}
			g.checkBlocks(t, v.Blocks, func(text string) []int32 { return tok.Encode(text, true) })
			checkDecode(t, tok, v.Decode)
		})
	}
}

// TestClasses compares the class of every code point with the original's regular expressions.
func TestClasses(t *testing.T) {
	if testdata.Race {
		t.Skip("a million calls of one goroutine, slow under -race: make test runs them without it")
	}
	letters := "OLNS"
	var block []byte
	for r := range rune(utf8.MaxRune + 1) {
		if !utf8.ValidRune(r) {
			continue
		}
		c := letters[classOf(r)]
		if numeric, _ := digitAt(string(r), 0); numeric {
			c |= 0x20
		}
		block = append(block, c)
	}
	sum := sha256.Sum256(block)
	assert.Equal(t, readGolden(t).Classes, hex.EncodeToString(sum[:]),
		"Go's Unicode tables have moved on: see unicode.go")
}
