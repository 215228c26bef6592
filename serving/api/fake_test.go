package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"servebench/serving/engine"
	"servebench/serving/tokenizer"
)

const (
	fakeContext = 2048
	fakeVocab   = 50000
	fakeEOS     = 2
)

// fakeTokenizer has a table of token texts. A prompt has a token a word, unless
// prompt, lengths or promptTokens, in that order, says otherwise.
type fakeTokenizer struct {
	texts        map[int32]string // bytes, not always whole characters
	promptTokens int
	lengths      map[string]int // of some prompts
	prompt       []int32

	mu      sync.Mutex
	encoded []string // "prompt:" or "text:", by the method, and what was encoded
}

func (f *fakeTokenizer) note(how, text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.encoded = append(f.encoded, how+text)
}

// firstText is the id of the first text of newFake.
const firstText = 1000

func (f *fakeTokenizer) ids(text string) []int32 {
	if f.prompt != nil {
		return f.prompt
	}
	n, known := f.lengths[text]
	if !known {
		n = f.promptTokens
	}
	if n == 0 {
		n = len(strings.Fields(text))
	}
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32(3 + i%100)
	}
	return ids
}

func (f *fakeTokenizer) EncodePrompt(text string) []int32 {
	f.note("prompt:", text)
	return f.ids(text)
}

func (f *fakeTokenizer) Encode(text string, special bool) []int32 {
	f.note("text:", text)
	return f.ids(text)
}

func (f *fakeTokenizer) EOS() []int32                            { return []int32{fakeEOS, fakeVocab + 7} }
func (f *fakeTokenizer) Stream(_ []int32, skip bool) Detokenizer { return &fakeStream{f, skip, nil} }
func (f *fakeTokenizer) Chat(m []tokenizer.Message, generate bool) (string, error) {
	var b strings.Builder
	for _, one := range m {
		if one.Role == "forbidden" {
			return "", errors.New("no such role")
		}
		b.WriteString("<" + one.Role + "> " + one.Content + "\n")
	}
	if generate {
		b.WriteString("<assistant> ")
	}
	return b.String(), nil
}

func (f *fakeTokenizer) Bytes(id int32) string { return f.texts[id] }

func (f *fakeTokenizer) Spelling(id int32) string { return f.Bytes(id) }

func (f *fakeTokenizer) Decode(ids []int32, skipSpecial bool) string {
	var b strings.Builder
	for _, id := range ids {
		if id != fakeEOS || !skipSpecial {
			b.WriteString(f.Bytes(id))
		}
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

type fakeStream struct {
	f       *fakeTokenizer
	skip    bool
	pending []byte
}

func (s *fakeStream) Push(id int32) string {
	if s.skip && id == fakeEOS {
		return ""
	}
	s.pending = append(s.pending, s.f.texts[id]...)
	n := 0
	for n < len(s.pending) && utf8.FullRune(s.pending[n:]) {
		_, size := utf8.DecodeRune(s.pending[n:])
		n += size
	}
	out := string(s.pending[:n])
	s.pending = s.pending[n:]
	return out
}

func (s *fakeStream) Flush() string {
	if len(s.pending) > 0 {
		return "\uFFFD"
	}
	return ""
}

// fakeEngine plays a script to every request: ids in order, then script.err,
// or more tokens without text until MaxTokens. Everything that was submitted is kept.
type fakeEngine struct {
	script  []engine.Token
	scripts [][]engine.Token // by request, in the order of Submit; the script is for others
	prompt  []engine.Token   // of Tokens.Prompt
	cached  int
	err     error // after the script
	submit  error
	dead    error
	blocked bool // after the script, wait for the request's end

	refuseFrom int // so many requests are taken, if it is not 0; the next one is ErrOverloaded

	mu       sync.Mutex
	requests []engine.Request
	ended    chan struct{} // one for every request whose context ended or that was closed
}

func (f *fakeEngine) Healthy() error { return f.dead }

func (f *fakeEngine) Submit(ctx context.Context, r engine.Request) (Tokens, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, r)
	if f.submit != nil {
		return nil, f.submit
	}
	if f.refuseFrom > 0 && len(f.requests) > f.refuseFrom {
		return nil, engine.ErrOverloaded
	}
	if f.ended != nil {
		go func() { <-ctx.Done(); f.ended <- struct{}{} }()
	}
	t := &fakeTokens{f: f, r: r, script: f.script}
	if n := len(f.requests); n <= len(f.scripts) {
		t.script = f.scripts[n-1]
	}
	return t, nil
}

// await waits until n requests were submitted.
func (f *fakeEngine) await(n int) {
	for {
		f.mu.Lock()
		got := len(f.requests)
		f.mu.Unlock()
		if got >= n {
			return
		}
		runtime.Gosched()
	}
}

func (f *fakeEngine) last(t testing.TB) engine.Request {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	require.NotEmpty(t, f.requests, "nothing was submitted")
	return f.requests[len(f.requests)-1]
}

type fakeTokens struct {
	f      *fakeEngine
	r      engine.Request
	script []engine.Token
	n      int
	closed bool
}

func (t *fakeTokens) Next(ctx context.Context) (engine.Token, error) {
	if t.closed {
		return engine.Token{}, io.EOF
	}
	t.n++
	if t.n <= len(t.script) {
		tok := t.script[t.n-1]
		if t.n == t.r.MaxTokens && tok.Finish == "" {
			tok.Finish = engine.FinishLength
		}
		return tok, nil
	}
	if t.f.err != nil {
		return engine.Token{}, t.f.err
	}
	if t.f.blocked {
		<-ctx.Done()
		return engine.Token{}, ctx.Err()
	}
	tok := engine.Token{ID: 5}
	if t.n == t.r.MaxTokens {
		tok.Finish = engine.FinishLength
	}
	return tok, nil
}

func (t *fakeTokens) Close()                { t.closed = true }
func (t *fakeTokens) Stop()                 { t.closed = true }
func (t *fakeTokens) CachedTokens() int     { return t.f.cached }
func (t *fakeTokens) Timing() engine.Timing { return engine.Timing{} }
func (t *fakeTokens) Prompt(context.Context) ([]engine.Token, error) {
	return t.f.prompt, nil
}

// fake is a Server on fakes.
type fake struct {
	engine *fakeEngine
	tok    *fakeTokenizer
	cfg    Config
}

// newFake makes a fake whose engine says texts, one a token, and then ends with finish.
func newFake(finish engine.Finish, texts ...string) *fake {
	f := &fake{engine: &fakeEngine{}, tok: &fakeTokenizer{texts: map[int32]string{}}}
	for i, text := range texts {
		f.tok.texts[int32(firstText+i)] = text
		f.engine.script = append(f.engine.script, engine.Token{ID: int32(firstText + i)})
	}
	switch {
	case finish == engine.FinishStop:
		f.engine.script = append(f.engine.script, engine.Token{ID: fakeEOS, Finish: finish})
	case finish == engine.FinishAbort:
		f.engine.script = append(f.engine.script, engine.Token{ID: -1, Finish: finish})
	case finish == engine.FinishLength && len(texts) > 0:
		f.engine.script[len(texts)-1].Finish = finish
	}
	f.cfg = Config{Engine: f.engine, Tokenizer: f.tok, Models: []string{"smol", "org/alias"}, Root: "MODEL_DIR",
		Vocab: fakeVocab, MaxModelLen: fakeContext, Defaults: Defaults{Temperature: 1, TopP: 1},
		Fingerprint: "servebench-test", Version: "1.2.3", Seed: func() uint64 { return 77 }}
	return f
}

func (f *fake) server(t testing.TB) *Server {
	t.Helper()
	s, err := New(f.cfg)
	require.NoError(t, err)
	return s
}

// listen serves over loopback.
func (f *fake) listen(t testing.TB) *httptest.Server {
	t.Helper()
	ts := httptest.NewServer(f.server(t))
	t.Cleanup(ts.Close)
	return ts
}

// post sends a body without a network.
func (f *fake) post(t testing.TB, path, body string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json; charset=utf-8")
	w := httptest.NewRecorder()
	f.server(t).ServeHTTP(w, r)
	return w
}

// wantError checks OpenAI's error shape.
type wireError struct {
	Error *struct {
		Message *string `json:"message"`
		Type    *string `json:"type"`
		Param   *string `json:"param"`
		Code    *int    `json:"code"`
	} `json:"error"`
}

func readError(t testing.TB, status int, body []byte) (message, param string) {
	t.Helper()
	var e wireError
	require.NoErrorf(t, json.Unmarshal(body, &e), "body %q", body)
	require.NotNilf(t, e.Error, "body %q", body)
	require.NotNilf(t, e.Error.Message, "body %q", body)
	require.NotNilf(t, e.Error.Type, "body %q", body)
	require.NotNilf(t, e.Error.Code, "body %q", body)
	require.Equal(t, status, *e.Error.Code)
	require.NotEmpty(t, *e.Error.Message)
	if e.Error.Param != nil {
		param = *e.Error.Param
	}
	return *e.Error.Message, param
}

// readEvents returns the data of a stream's events, and checks their framing.
func readEvents(t testing.TB, body io.Reader) []string {
	t.Helper()
	var events []string
	sc := bufio.NewScanner(body)
	for sc.Scan() {
		data, ok := strings.CutPrefix(sc.Text(), "data: ")
		require.Truef(t, ok, "line %q", sc.Text())
		events = append(events, data)
		require.True(t, sc.Scan(), "the last event has no blank line")
		require.Empty(t, sc.Text())
	}
	require.NoError(t, sc.Err())
	return events
}
