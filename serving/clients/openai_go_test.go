package clients

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/packages/ssestream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const prompt = "one, two, three,"

// outputTokens is how many each request makes: random weights may end a text
// anywhere, so the end is not listened to.
const outputTokens = 16

// ignoreEOS is a field of this server that the library does not know.
var ignoreEOS = option.WithJSONSet("ignore_eos", true)

func newOpenAI(url string) openai.Client {
	return openai.NewClient(option.WithBaseURL(url+"/v1/"), option.WithAPIKey("none"), option.WithMaxRetries(0))
}

func completion() openai.CompletionNewParams {
	return openai.CompletionNewParams{Model: modelName, Prompt: openai.CompletionNewParamsPromptUnion{OfString: openai.String(prompt)},
		MaxTokens: openai.Int(outputTokens), Temperature: openai.Float(0)}
}

func chat() openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: modelName, MaxTokens: openai.Int(outputTokens), Temperature: openai.Float(0),
		Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Count: " + prompt)}}
}

// include asks for usage at a stream's end.
var include = openai.ChatCompletionStreamOptionsParam{IncludeUsage: openai.Bool(true)}

// readAll passes a stream's events on until its end.
func readAll[E any](t *testing.T, s *ssestream.Stream[E], each func(E)) {
	t.Helper()
	defer s.Close()
	for s.Next() {
		each(s.Current())
	}
	require.NoError(t, s.Err())
}

func goCompletions(t *testing.T, url string) {
	c, ctx := newOpenAI(url), t.Context()
	whole, err := c.Completions.New(ctx, completion(), ignoreEOS)
	require.NoError(t, err)
	require.Len(t, whole.Choices, 1)
	said := whole.Choices[0].Text
	assert.Equal(t, openai.CompletionChoiceFinishReasonLength, whole.Choices[0].FinishReason)
	assert.EqualValues(t, outputTokens, whole.Usage.CompletionTokens)
	assert.Equal(t, whole.Usage.PromptTokens+outputTokens, whole.Usage.TotalTokens)

	p := completion()
	p.StreamOptions = include
	var text strings.Builder
	var usage openai.CompletionUsage
	readAll(t, c.Completions.NewStreaming(ctx, p, ignoreEOS), func(e openai.Completion) {
		for _, choice := range e.Choices {
			text.WriteString(choice.Text)
		}
		if e.Usage.TotalTokens > 0 {
			usage = e.Usage
		}
	})
	assert.Equal(t, said, text.String())
	assert.Equal(t, whole.Usage.TotalTokens, usage.TotalTokens)

	cut := said[strings.IndexFunc(said, func(r rune) bool { return r > ' ' && r < '~' }):][:1]
	p = completion()
	p.Stop = openai.CompletionNewParamsStopUnion{OfStringArray: []string{cut}}
	stopped, err := c.Completions.New(ctx, p, ignoreEOS)
	require.NoError(t, err)
	before, _, _ := strings.Cut(said, cut)
	assert.Equal(t, before, stopped.Choices[0].Text)
	assert.Equal(t, openai.CompletionChoiceFinishReasonStop, stopped.Choices[0].FinishReason)

	p = completion()
	p.N, p.Temperature, p.Seed, p.Logprobs = openai.Int(2), openai.Float(1), openai.Int(7), openai.Int(1)
	several, err := c.Completions.New(ctx, p, ignoreEOS)
	require.NoError(t, err)
	require.Len(t, several.Choices, 2)
	for _, choice := range several.Choices {
		assert.Len(t, choice.Logprobs.TokenLogprobs, outputTokens)
	}
}

func goChat(t *testing.T, url string) {
	c, ctx := newOpenAI(url), t.Context()
	p := chat()
	p.Logprobs, p.TopLogprobs = openai.Bool(true), openai.Int(2)
	whole, err := c.Chat.Completions.New(ctx, p, ignoreEOS)
	require.NoError(t, err)
	require.Len(t, whole.Choices, 1)
	require.Len(t, whole.Choices[0].Logprobs.Content, outputTokens)
	assert.Len(t, whole.Choices[0].Logprobs.Content[0].TopLogprobs, 2)
	assert.EqualValues(t, outputTokens, whole.Usage.CompletionTokens)

	p = chat()
	p.StreamOptions = include
	var all openai.ChatCompletionAccumulator
	readAll(t, c.Chat.Completions.NewStreaming(ctx, p, ignoreEOS), func(e openai.ChatCompletionChunk) {
		assert.True(t, all.AddChunk(e), "an event that does not go on where the last one ended")
	})
	require.Len(t, all.Choices, 1)
	assert.Equal(t, whole.Choices[0].Message.Content, all.Choices[0].Message.Content)
	assert.Equal(t, "length", all.Choices[0].FinishReason)
	assert.Equal(t, whole.Usage.TotalTokens, all.Usage.TotalTokens)
}

// goErrors asks for what is refused, and goes away in the middle.
func goErrors(t *testing.T, url string) {
	c, ctx := newOpenAI(url), t.Context()
	check := func(err error, status int, param string) {
		t.Helper()
		var e *openai.Error
		require.ErrorAs(t, err, &e)
		assert.Equal(t, status, e.StatusCode)
		assert.Equal(t, param, e.Param)
		assert.NotEmpty(t, e.Message)
	}
	p := completion()
	p.Model = "nobody"
	_, err := c.Completions.New(ctx, p)
	check(err, http.StatusNotFound, "model")
	bad := chat()
	bad.TopP = openai.Float(2)
	s := c.Chat.Completions.NewStreaming(ctx, bad)
	assert.False(t, s.Next())
	check(s.Err(), http.StatusBadRequest, "top_p")

	p = completion()
	p.MaxTokens = openai.Int(2000)
	leave, cancel := context.WithCancel(ctx)
	s2 := c.Completions.NewStreaming(leave, p, ignoreEOS)
	require.True(t, s2.Next(), "%v", s2.Err())
	cancel()
	for s2.Next() {
	}
	require.ErrorIs(t, s2.Err(), context.Canceled)

	// Others go on.
	var wg sync.WaitGroup
	texts := make([]string, 8)
	for i := range texts {
		wg.Go(func() {
			if whole, err := c.Completions.New(ctx, completion(), ignoreEOS); assert.NoError(t, err) {
				texts[i] = whole.Choices[0].Text
			}
		})
	}
	wg.Wait()
	for _, text := range texts {
		assert.Equal(t, texts[0], text)
	}
}
