package datasets_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/datasets/tokenizertest"
	"servebench/testdata"
)

func ids(s *datasets.Set) []string {
	out := make([]string, len(s.Prompts))
	for i, p := range s.Prompts {
		out[i] = p.ID
	}
	return out
}

func TestEveryRowIsAccountedFor(t *testing.T) {
	rows := chatRows(numbered(30)...) +
		chatRow("too-short", 19) + chatRow("shortest", 20) + chatRow("longest", 100) + chatRow("too-long", 101) +
		chatRow("row-0003", 40) + // an id that was there
		strings.Replace(chatRow("row-0004", 30), `"message_id":"row-0004"`, `"message_id":"another"`, 1) + // a text that was there
		strings.Replace(chatRow("gone", 30), `"deleted":false`, `"deleted":true`, 1) +
		strings.Replace(chatRow("french", 30), `"lang":"en"`, `"lang":"fr"`, 1) +
		strings.Replace(chatRow("reply", 30), `"parent_id":null`, `"parent_id":"x"`, 1) +
		strings.Replace(chatRow("answer", 30), `"prompter"`, `"assistant"`, 1) +
		`{"message_id":"blank","parent_id":null,"text":" \n","role":"prompter","lang":"en","deleted":false}`
	set, err := prepareText(t, rows, datasets.Options{N: datasets.All})
	require.NoError(t, err)
	assert.Equal(t, datasets.Rows{
		Read: 41, Kept: 32, Drawn: 32,
		Dropped: map[string]int{
			"below 20 tokens": 1, "above 100 tokens": 1, "id of an earlier row": 1, "text of an earlier row": 1,
			"deleted": 1, "not English": 1, "not an opening prompt": 2, "empty text": 1,
		},
	}, set.Header.Rows)
	assert.Contains(t, ids(set), "shortest")
	assert.Contains(t, ids(set), "longest")
}

func TestTooFew(t *testing.T) {
	_, err := prepareText(t, chatRows(numbered(7)...)+chatRow("short", 5), datasets.Options{N: 8})
	var few *datasets.TooFewError
	require.ErrorAs(t, err, &few)
	assert.Equal(t, 7, few.Rows.Kept)
	assert.EqualError(t, err, "too few prompts of oasst1 for gpt2: 7 found, 8 needed "+
		"(8 rows read, 7 kept, 1 dropped: below 20 tokens); give more rows or ask for fewer with -n")
	_, err = prepareText(t, chatRows(numbered(99)...), datasets.Options{})
	assert.ErrorContains(t, err, "99 found, 100 needed")
	_, err = prepareText(t, "", datasets.Options{N: datasets.All})
	assert.ErrorContains(t, err, "0 found, 1 needed")
	_, err = prepareText(t, chatRows("one"), datasets.Options{N: -2})
	assert.ErrorContains(t, err, "cannot draw -2")
}

// The draw hangs on the ids and the seed, not on what else is in the file.
func TestDraw(t *testing.T) {
	names := numbered(600)
	draw := func(names []string, seed uint64, n int) *datasets.Set {
		t.Helper()
		set, err := prepareText(t, chatRows(names...), datasets.Options{Seed: seed, N: n})
		require.NoError(t, err)
		return set
	}
	want := draw(names, 1, 100)
	assert.Len(t, want.Prompts, 100)
	assert.Equal(t, 600, want.Header.Rows.Kept)

	backwards := slices.Clone(names)
	slices.Reverse(backwards)
	assert.Equal(t, want.Prompts, draw(backwards, 1, 100).Prompts, "order of the rows")
	assert.Equal(t, want.Prompts, draw(names, 1, datasets.All).Prompts[:100], "size of the draw")
	assert.Equal(t, want.Prompts[:10], draw(names, 1, 10).Prompts)
	assert.NotEqual(t, ids(want), ids(draw(names, 2, 100)), "seed")

	fewer := draw(names[:400], 1, datasets.All)
	left := slices.DeleteFunc(ids(want), func(id string) bool { return !slices.Contains(names[:400], id) })
	assert.Equal(t, left, ids(fewer)[:len(left)], "rows taken away leave the order of the others")

	// A uniform draw of 100 of 600 has 50 ± 5 of either half; five sigma is 25.
	low := 0
	seeds := map[int64]bool{}
	for _, p := range want.Prompts {
		if slices.Contains(names[:300], p.ID) {
			low++
		}
		assert.GreaterOrEqual(t, p.Seed, int64(0))
		assert.Less(t, p.Seed, int64(1)<<31)
		seeds[p.Seed] = true
	}
	assert.InDelta(t, 50, low, 25)
	assert.Len(t, seeds, 100, "each prompt has its own seed")
}

func TestBadRowEndsPrepare(t *testing.T) {
	_, err := prepareText(t, chatRows(numbered(500)...)+"{}\n", datasets.Options{})
	assert.ErrorContains(t, err, `rows.jsonl:501 is not a row of OpenAssistant/oasst1 (default): no field "message_id"`)
}

// A closed-book prompt has as few examples as bring it into the window, and
// two prompts share no long beginning.
func TestClosedBook(t *testing.T) {
	d := datasets.DatasetFor(datasets.QA)
	src, err := d.Open(authored(d))
	require.NoError(t, err)
	set, err := datasets.Prepare(t.Context(), src, model(t, "phi-2"), tokenizertest.Local{}, datasets.Options{N: 24})
	require.NoError(t, err)
	second := map[string]int{}
	for _, p := range set.Prompts {
		blocks := strings.Split(p.Text, "\n\n")
		assert.Equal(t, "Answer each question in a few words.", blocks[0])
		examples, question := blocks[1:len(blocks)-1], blocks[len(blocks)-1]
		require.GreaterOrEqual(t, len(examples), 2)
		for _, e := range examples {
			assert.Regexp(t, `^Question: .+\?\nAnswer: .+$`, e)
		}
		assert.Regexp(t, `^Question: .+\?\nAnswer:$`, question)
		assert.Contains(t, rowText(t, d, p.ID)+"\nAnswer:", strings.TrimPrefix(question, "Question: "))
		// One example less and it would be below the window.
		shorter := strings.Join(slices.Delete(slices.Clone(blocks), len(blocks)-2, len(blocks)-1), "\n\n")
		assert.Less(t, len(tokenizertest.Encode(shorter, false)), 100)
		assert.Equal(t, len(tokenizertest.Encode(p.Text, false)), p.Tokens.Text)
		second[strings.Join(blocks[1:3], "\n\n")]++
	}
	assert.Len(t, second, 24, "no two prompts begin with the same two examples")
}

func rowText(t *testing.T, d datasets.Dataset, id string) string {
	t.Helper()
	for _, row := range rowsOf(t, d, authored(d)) {
		if row.ID == id {
			return row.Text
		}
	}
	t.Fatalf("no row %s", id)
	return ""
}

func TestFewShotQuestionIsNotMeasured(t *testing.T) {
	d := datasets.DatasetFor(datasets.QA)
	row := `{"question":"  which BIRD lays the largest egg? ","question_id":"1","answer":{"value":"x"}}`
	rows := rowsOf(t, d, write(t, "rows.jsonl", []byte(row)))
	assert.Equal(t, "asks a few-shot example's question", rows[0].Drop)
}

// The repository's own prompt sets are enough for a run without a network.
// The sets of warming up are others.
func TestAuthoredPrompts(t *testing.T) {
	for _, d := range datasets.Datasets() {
		for _, m := range datasets.Models() {
			src, err := d.Open(authored(d))
			require.NoError(t, err)
			set, err := datasets.Prepare(t.Context(), src, m, tokenizertest.Local{}, datasets.Options{N: datasets.All})
			require.NoError(t, err)
			assert.GreaterOrEqual(t, len(set.Prompts), 24, "%s for %s: %s", d.Name, m.Name, set.Header.Rows)
			checkPrompts(t, set, m)

			warm, err := datasets.WarmUp(t.Context(), d.Task, m, tokenizertest.Local{})
			require.NoError(t, err)
			assert.GreaterOrEqual(t, len(warm.Prompts), 4, "%s for %s: %s", d.Name, m.Name, warm.Header.Rows)
			assert.Equal(t, "warmup/"+d.Name+".jsonl", warm.Header.Sources[0].Name)
			for _, w := range warm.Prompts {
				for _, p := range set.Prompts {
					assert.NotEqual(t, w.ID, p.ID)
					assert.NotEqual(t, w.Text, p.Text)
				}
			}
		}
	}
}

// checkPrompts checks what must hold for every set.
func checkPrompts(t *testing.T, set *datasets.Set, m datasets.Model) {
	t.Helper()
	seen := map[string]bool{}
	for _, p := range set.Prompts {
		assert.True(t, p.Task.Windows().In.Contains(p.Tokens.Text), "%s has %d tokens", p.ID, p.Tokens.Text)
		assert.GreaterOrEqual(t, p.Tokens.Completion, p.Tokens.Text)
		assert.Positive(t, p.Tokens.Chat)
		assert.Equal(t, m.Sampling(p.Task), p.Sampling)
		assert.False(t, seen[p.ID] || seen[p.Text], "%s is there twice", p.ID)
		seen[p.ID], seen[p.Text] = true, true
	}
	h := set.Header
	read := h.Rows.Kept
	for _, n := range h.Rows.Dropped {
		read += n
	}
	assert.Equal(t, h.Rows.Read, read)
	assert.NotEmpty(t, h.Rule)
}

// No question, article or function of the public samples is an authored,
// few-shot or warm-up one: nothing measured was seen before.
func TestAuthoredIsNoDataset(t *testing.T) {
	for _, c := range []struct {
		task datasets.Task
		file []string
	}{
		{datasets.Chat, []string{"oasst1", "root_prompts.jsonl"}},
		{datasets.Summarization, []string{"cnn_dailymail", "3.0.0_validation.jsonl"}},
		{datasets.QA, []string{"trivia_qa", "rc_nocontext_validation.jsonl"}},
		{datasets.Code, []string{"openai_humaneval", "HumanEval.jsonl"}},
	} {
		d := datasets.DatasetFor(c.task)
		real := map[string]bool{}
		for _, row := range rowsOf(t, d, testdata.Shared(t, append([]string{"data"}, c.file...)...)) {
			real[row.ID], real[row.Text] = true, true
			assert.Empty(t, row.Drop)
		}
		for _, row := range rowsOf(t, d, authored(d)) {
			assert.False(t, real[row.ID] || real[row.Text], row.Where)
		}
		warm, err := datasets.WarmUp(t.Context(), c.task, model(t, "gpt2"), tokenizertest.Local{})
		require.NoError(t, err)
		for _, p := range warm.Prompts {
			assert.False(t, real[p.ID], p.ID)
			for text := range real {
				assert.False(t, len(text) > 40 && strings.Contains(p.Text, text), p.ID)
			}
		}
	}
}

type failing struct{ tokenizertest.Local }

var errTokenizer = errors.New("no tokenizer today")

func (failing) Count(_ context.Context, _ []string, _ bool) ([]int, error) { return nil, errTokenizer }

func TestTokenizerFails(t *testing.T) {
	d := datasets.DatasetFor(datasets.Code)
	src, err := d.Open(authored(d))
	require.NoError(t, err)
	_, err = datasets.Prepare(t.Context(), src, model(t, "gpt2"), failing{}, datasets.Options{})
	require.ErrorIs(t, err, errTokenizer)
	assert.ErrorContains(t, err, "openai_humaneval.jsonl:1")
}

func TestModels(t *testing.T) {
	for _, m := range datasets.Models() {
		for _, task := range datasets.Tasks() {
			s := m.Sampling(task)
			assert.True(t, s.Temperature > 0 && s.TopP > 0 && s.TopP <= 1 && s.MaxTokens > 0, "%s %s: %+v", m.Name, task, s)
			want := datasets.CompletionAPI
			if m.Instruct && task != datasets.Code {
				want = datasets.ChatAPI
			}
			assert.Equal(t, want, m.API(task))
		}
	}
	assert.Equal(t, datasets.Sampling{Temperature: .6, TopP: .85, MaxTokens: 120}, model(t, "llama-2-7b-chat").Sampling(datasets.Code))
}

func TestNamesThatDoNotExist(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{errOf(datasets.ModelByName("gpt3")), `unknown model "gpt3": choose from gpt2, phi-2, llama-2-7b-chat, mistral-7b-instruct, smollm2-135m-instruct`},
		{errOf(datasets.DatasetByName("squad")), `unknown dataset "squad": choose from oasst1, cnn_dailymail, trivia_qa, openai_humaneval`},
		{errOf(datasets.ParseTask("sing")), `unknown task "sing": choose from chat, summarization, qa, code`},
		{errOf(datasets.ParseMode("")), `unknown mode "": choose from sync, stream`},
		{errOf(datasets.ParseAPI("soap")), `unknown api "soap": choose from completion, chat`},
	} {
		assert.EqualError(t, c.err, c.want)
	}
}

func errOf[T any](_ T, err error) error { return err }

func ExampleRows_String() {
	fmt.Println(datasets.Rows{Read: 9, Kept: 5, Dropped: map[string]int{"deleted": 1, "below 20 tokens": 3}})
	// Output: 9 rows read, 5 kept, 3 dropped: below 20 tokens, 1 dropped: deleted
}
