package tokenizer

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/serving/weights/gguf"
	"servebench/testdata"
)

// pieceGolden is testdata/tokenizer/sentencepiece.json, which its "command" makes
// with sentencepiece, tokenizers and Transformers. Most ids and texts are hashes.
type pieceGolden struct {
	Texts       []string
	FolderTexts []string `json:"folder_texts"`
	Long        [][2]any // text, how often
	Shorter     int      // by which that is divided for the many small vocabularies
	Legacy      map[string]any
	Model       modelGolden
	Models      []modelGolden
	Variants    []pieceVariant
	Folders     []folderGolden
	Chats       []struct {
		folderGolden
		Cases []chatCase
	}
	Talks map[string][]Message
	Llama struct {
		SentencePiece, First, Legacy llamaGolden
		Merges                       string
	}
}

// modelGolden is what the sentencepiece package makes of Texts.
type modelGolden struct {
	Name, Model       string
	Plain, Text, Long []string
}

// pieceVariant is what the tokenizers package makes of Texts with the small
// tokenizer.json, of which some keys are changed.
type pieceVariant struct {
	Name                         string
	Top, Model                   map[string]any
	Special, Plain, Prompt, Long []string
	Decode                       []decodeGolden
	After                        []struct {
		Prompt, IDs []int32
		Text        string
	}
}

// folderGolden is what Transformers makes of a folder with a vocabulary and files around it.
type folderGolden struct {
	Name, File    string
	Around        map[string]any
	Prompt        [][]int32
	Text, Skipped []string
}

// llamaGolden is what an original makes of Llama 2's own vocabulary.
type llamaGolden struct {
	Texts, Long []string
	Rows        map[string][]string
}

var readPieceGolden = readOnce[pieceGolden]("sentencepiece.json")

// smallPieces reads a file of the small vocabulary.
func smallPieces(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(testdata.Path("tokenizer", "sentencepiece", name))
	require.NoError(t, err)
	return data
}

// checkHashes compares a hash for each text.
func checkHashes(t *testing.T, what string, texts, want []string, encode func(text string) []int32) {
	t.Helper()
	require.Len(t, want, len(texts))
	for i, text := range texts {
		if len(text) > 10_000 && !taken(i) {
			continue
		}
		ids := encode(text)
		assert.Equal(t, want[i], hashIDs(ids), "%s of %.100q: got %v", what, text, ids[:min(len(ids), 100)])
	}
}

func (g *pieceGolden) longTexts(part int) (texts []string) {
	for _, r := range g.Long {
		texts = append(texts, strings.Repeat(r[0].(string), int(r[1].(float64))/part))
	}
	return texts
}

func plain(tok *Tokenizer) func(string) []int32 {
	return func(s string) []int32 { return tok.Encode(s, false) }
}

func recognised(tok *Tokenizer) func(string) []int32 {
	return func(s string) []int32 { return tok.Encode(s, true) }
}

// bytesAsIDs is how the vectors hash text.
func bytesAsIDs(s string) (ids []int32) {
	for i := range len(s) {
		ids = append(ids, int32(s[i]))
	}
	return ids
}

func madeFrom(t testing.TB, v *vocabulary, err error) *Tokenizer {
	t.Helper()
	require.NoError(t, err)
	tok, err := v.tokenizer()
	require.NoError(t, err)
	return tok
}

// TestPieceModels compares with the sentencepiece package.
func TestPieceModels(t *testing.T) {
	g := readPieceGolden(t)
	small := g.Model
	small.Name, small.Model = "small", base64.StdEncoding.EncodeToString(smallPieces(t, "tokenizer.model"))
	long := map[bool][]string{true: g.longTexts(1), false: g.longTexts(g.Shorter)}
	for _, m := range slices.Concat(g.Models, []modelGolden{small}) {
		t.Run(m.Name, func(t *testing.T) {
			data, err := base64.StdEncoding.DecodeString(m.Model)
			require.NoError(t, err)
			v, err := parseModel(data)
			tok := madeFrom(t, v, err)
			checkHashes(t, "ids", g.Texts, m.Plain, plain(tok))
			checkHashes(t, "ids", long[m.Name == "small"], m.Long, plain(tok))
			if m.Name == "no byte fallback" || m.Name == "extra whitespace removed" {
				return // text is as Transformers has it, not " ⁇ " for <unk>, and with leading spaces of a text
			}
			checkHashes(t, "text", g.Texts, m.Text, func(s string) []int32 {
				ids := tok.Encode(s, false)
				checkPieceStream(t, tok, ids)
				return bytesAsIDs(tok.Decode(ids, true))
			})
		})
	}
}

// json returns the tokenizer.json of a variant.
func (v *pieceVariant) json(t testing.TB) []byte {
	t.Helper()
	var file map[string]any
	require.NoError(t, json.Unmarshal(smallPieces(t, "tokenizer.json"), &file))
	maps.Copy(file, v.Top)
	m := file["model"].(map[string]any)
	base, merges := m["vocab"].(map[string]any), m["merges"].([]any)
	maps.Copy(m, v.Model)
	if list, ok := m["vocab"].([]any); ok { // the base's ids, or new spellings
		spellings := map[float64]string{}
		for s, id := range base {
			spellings[id.(float64)] = s
		}
		vocab := map[string]any{}
		for i, e := range list {
			if id, ok := e.(float64); ok {
				e = spellings[id]
			}
			vocab[e.(string)] = i
		}
		m["vocab"] = vocab
	}
	vocab := m["vocab"].(map[string]any)
	m["merges"] = slices.DeleteFunc(merges, func(e any) bool {
		left, right := e.([]any)[0].(string), e.([]any)[1].(string)
		return vocab[left] == nil || vocab[right] == nil || vocab[left+right] == nil
	})
	if v.Model["merges"] == " " {
		for i, e := range merges {
			merges[i] = e.([]any)[0].(string) + " " + e.([]any)[1].(string)
		}
	}
	data, err := json.Marshal(file)
	require.NoError(t, err)
	return data
}

// TestPieceVariants compares with the tokenizers package.
func TestPieceVariants(t *testing.T) {
	g := readPieceGolden(t)
	long := g.longTexts(g.Shorter)
	for _, c := range g.Variants {
		t.Run(c.Name, func(t *testing.T) {
			v, err := parseJSON(c.json(t))
			tok := madeFrom(t, v, err)
			checkHashes(t, "ids", g.Texts, c.Special, recognised(tok))
			checkHashes(t, "plain ids", g.Texts, c.Plain, plain(tok))
			checkHashes(t, "prompt", g.Texts, c.Prompt, tok.EncodePrompt)
			checkHashes(t, "ids", long, c.Long, recognised(tok))
			for _, d := range c.Decode {
				assert.Equal(t, d.Text, tok.Decode(d.IDs, false), "text of %v", d.IDs)
				if c.Name != "legacy, specials normalized" { // which the package does not leave out, written as they are with a space
					assert.Equal(t, d.Skipped, tok.Decode(d.IDs, true), "text of %v without specials", d.IDs)
				}
				checkPieceStream(t, tok, d.IDs)
			}
			for _, a := range c.After {
				checkPieceStream(t, tok, slices.Concat(a.Prompt, a.IDs))
				if c.Name == "legacy, specials normalized" {
					continue
				}
				assert.Equal(t, a.Text, streamed(tok.StreamAfter(a.Prompt, true), a.IDs), "text of %v after %v", a.IDs, a.Prompt)
			}
		})
	}
}

func streamed(s *Stream, ids []int32) string {
	var text strings.Builder
	for _, id := range ids {
		text.WriteString(s.Push(id))
	}
	text.WriteString(s.Flush())
	return text.String()
}

// checkPieceStream holds that a stream's pieces are valid UTF-8 and join to
// Decode's text, or where byte tokens are no UTF-8 to a text as valid, and that a
// StreamAfter goes on where a Stream is.
func checkPieceStream(t *testing.T, tok *Tokenizer, ids []int32) {
	t.Helper()
	for _, skip := range []bool{false, true} {
		s := tok.Stream(skip)
		var text strings.Builder
		for _, id := range ids {
			piece := s.Push(id)
			assert.True(t, utf8.ValidString(piece), "piece %q of %v", piece, ids)
			text.WriteString(piece)
		}
		before := text.Len()
		text.WriteString(s.Flush())
		assert.Empty(t, s.Flush(), "second flush")
		if want := tok.Decode(ids, skip); strings.Contains(want, replacement) {
			assert.Contains(t, text.String(), replacement)
		} else {
			assert.Equal(t, want, text.String(), "stream of %v", ids)
		}
		assert.Equal(t, text.String()[before:], tok.StreamAfter(ids, skip).Flush(), "what is held after %v", ids)
	}
}

// write makes the folder, with a file of the small vocabulary.
func (f *folderGolden) write(t testing.TB, g *pieceGolden) string {
	t.Helper()
	name, form, _ := strings.Cut(f.File, " ")
	files := map[string]string{name: string(smallPieces(t, name))}
	if form == "legacy" {
		files[name] = string((&pieceVariant{Top: g.Legacy}).json(t))
	}
	for other, content := range f.Around {
		data, err := json.Marshal(content)
		require.NoError(t, err)
		files[other] = string(data)
	}
	return folder(t, files)
}

// TestPieceFolders compares with Transformers' AutoTokenizer.
func TestPieceFolders(t *testing.T) {
	g := readPieceGolden(t)
	for _, f := range g.Folders {
		t.Run(f.Name, func(t *testing.T) {
			tok, err := Open(f.write(t, g))
			require.NoError(t, err)
			for i, text := range g.FolderTexts {
				ids := tok.EncodePrompt(text)
				// sentencepiece puts a space before a space too (TestPieceModels), Transformers does not.
				spaced := strings.HasPrefix(text, " ") || strings.Contains(text, "> ")
				if f.File != "tokenizer.model" || !spaced {
					checkIDs(t, text, ids, f.Prompt[i])
				}
				assert.Equal(t, f.Text[i], tok.Decode(f.Prompt[i], false))
				assert.Equal(t, f.Skipped[i], tok.Decode(f.Prompt[i], true))
			}
			assert.Equal(t, []int32{2}, tok.EOS())
		})
	}
}

// TestPieceChats compares the published templates with Transformers' apply_chat_template.
func TestPieceChats(t *testing.T) {
	g := readPieceGolden(t)
	for _, f := range g.Chats {
		tok, err := Open(f.write(t, g))
		require.NoError(t, err)
		for _, c := range f.Cases {
			got, err := tok.Chat(g.Talks[c.Talk], c.Generate)
			if c.Text == nil {
				assert.ErrorIs(t, err, ErrChat, "%s: %s: Transformers says %s", f.Name, c.Talk, c.Error)
				continue
			}
			require.NoError(t, err)
			assert.Equal(t, *c.Text, got, "%s: %s", f.Name, c.Talk)
			checkIDs(t, got, tok.Encode(got, true), c.IDs)
		}
	}
}

// llamaMerges returns Llama 2's vocabulary with merges as Transformers derives
// them: in the order of what they become, and of those by their first token's length.
func llamaMerges(t testing.TB, want string) (tokens []string, merges [][2]string) {
	t.Helper()
	f, err := gguf.Open(testdata.Shared(t, "tokenizers", "llama-spm.gguf"))
	require.NoError(t, err)
	defer f.Close()
	tokens, err = f.Strings(keyTokens)
	require.NoError(t, err)
	ids := make(map[string]int32, len(tokens))
	for i, s := range tokens {
		ids[s] = int32(i)
	}
	var order []int32
	for _, s := range tokens {
		for at := range s {
			_, okLeft := ids[s[:at]]
			if _, okRight := ids[s[at:]]; at > 0 && okLeft && okRight {
				merges = append(merges, [2]string{s[:at], s[at:]})
				order = append(order, ids[s[:at]], ids[s[at:]])
			}
		}
	}
	require.Equal(t, want, hashIDs(order), "the merges are not Transformers'")
	return tokens, merges
}

// TestLlama compares on real text with Llama 2's own vocabulary, in all three forms.
func TestLlama(t *testing.T) {
	g := readPieceGolden(t)
	file := testdata.Shared(t, "tokenizers", "llama-spm.gguf")
	tokens, merges := llamaMerges(t, g.Llama.Merges)
	with := func(top map[string]any) *Tokenizer {
		v, err := parseJSON((&pieceVariant{Top: top}).json(t))
		require.NoError(t, err)
		v.tokens, v.merges = tokens, merges
		return madeFrom(t, v, nil)
	}
	for _, c := range []struct {
		name   string
		tok    *Tokenizer
		want   llamaGolden
		part   int
		encode func(tok *Tokenizer) func(string) []int32
	}{
		{"GGUF", opened(t, file), g.Llama.SentencePiece, 1, plain},
		{"tokenizer.json", with(nil), g.Llama.First, g.Shorter, recognised},
		{"tokenizer.json, legacy", with(g.Legacy), g.Llama.Legacy, g.Shorter, recognised},
	} {
		t.Run(c.name, func(t *testing.T) {
			encode := c.encode(c.tok)
			checkHashes(t, "ids", g.Texts, c.want.Texts, encode)
			checkHashes(t, "ids", g.longTexts(c.part), c.want.Long, encode)
			rows := 0
			for file, hashes := range c.want.Rows {
				for i, row := range rowTexts(t, file) {
					if !taken(i) {
						continue
					}
					var ids []int32
					for _, text := range row {
						got := encode(text)
						back := text
						if c.name == "tokenizer.json" { // a Metaspace adds no space before one, but the decoder takes one away
							back = strings.TrimPrefix(text, " ")
						}
						assert.Equal(t, back, c.tok.Decode(got, true), "%s row %d", file, i)
						ids = append(ids, got...)
					}
					if assert.Equal(t, hashes[i], hashIDs(ids), "%s row %d", file, i) {
						rows++
					}
				}
			}
			t.Logf("%d rows have the original's ids", rows)
		})
	}
	tok := opened(t, file)
	assert.Equal(t, []int32{2}, tok.EOS())
	assert.Equal(t, []int32{1, 15043, 29892, 259, 13}, tok.EncodePrompt("Hello,  \n"))
	assert.Equal(t, "▁Hello", tok.Spelling(15043))
	assert.Equal(t, " Hello", tok.Bytes(15043))
	assert.Equal(t, "\n", tok.Bytes(13))
	assert.Equal(t, "<0x0A>", tok.Spelling(13))
}
