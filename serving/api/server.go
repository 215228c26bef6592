package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/serving/engine"
	"servebench/serving/tokenizer"
)

// Tokens is the output of one request; engine.Stream is one.
type Tokens interface {
	// Next waits for the next token. The one with Finish set is the last. An
	// error ends the request too: ctx's, or what went wrong in the engine.
	Next(ctx context.Context) (engine.Token, error)
	// Prompt waits for the prompt's tokens with their log-probabilities.
	Prompt(ctx context.Context) ([]engine.Token, error)
	// CachedTokens is how many of the prompt's tokens the prefix cache had,
	// settled once Next returned a token.
	CachedTokens() int
	// Timing is when the request got where.
	Timing() engine.Timing
	// Stop ends the request if it still runs, because its text is complete.
	Stop()
	// Close ends the request if it still runs, because nobody wants it any more.
	Close()
}

// Engine generates; UseEngine makes one of an engine.Engine. All methods may
// be called from many goroutines.
type Engine interface {
	// Submit queues a request, or returns one of engine's errors. When ctx
	// ends, so does the request, whether or not anyone reads its tokens.
	// Tokens wait in the engine until they are read; a reader never delays it.
	Submit(ctx context.Context, r engine.Request) (Tokens, error)
	// Healthy returns why the engine can serve nothing any more, or nil.
	Healthy() error
}

// Detokenizer turns a request's ids into text; tokenizer.Stream is one.
type Detokenizer interface {
	// Push returns the text that id completes, never half a character.
	Push(id int32) string
	// Flush returns what is left at the end.
	Flush() string
}

// Tokenizer is text to ids and back; UseTokenizer makes one of a
// tokenizer.Tokenizer. All methods may be called from many goroutines.
type Tokenizer interface {
	// EncodePrompt encodes a completion's prompt.
	EncodePrompt(text string) []int32
	// Encode encodes a rendered chat, special tokens included.
	Encode(text string, special bool) []int32
	// Chat renders messages; an error is the caller's fault.
	Chat(messages []tokenizer.Message, addGenerationPrompt bool) (string, error)
	// Stream makes an incremental detokeniser for what follows prompt.
	Stream(prompt []int32, skipSpecial bool) Detokenizer
	// EOS returns the ids that end a generation.
	EOS() []int32
	// Decode returns the text of ids, special tokens included unless skipped.
	Decode(ids []int32, skipSpecial bool) string
	// Bytes returns the bytes that an id stands for, Spelling the vocabulary's
	// own way to write it.
	Bytes(id int32) string
	Spelling(id int32) string
}

// Defaults stand in for sampling fields that a request leaves out.
type Defaults struct {
	Temperature       float64 // 0 is greedy
	TopP              float64
	TopK              int     // 0 keeps all
	MinP              float64 // 0 keeps all
	RepetitionPenalty float64 // 0 and 1 change nothing
}

// Config is what a Server is made of.
type Config struct {
	Engine      Engine
	Tokenizer   Tokenizer
	Models      []string // names served; the first stands for a request that gives none
	Root        string   // what --model was: "root" in /v1/models
	Vocab       int      // V: ids of a token-id prompt are below it
	MaxModelLen int      // context: tokens of prompt and output together
	Defaults    Defaults
	MaxLogprobs int           // most alternatives to a token that a request may ask for; 0 is DefaultMaxLogprobs
	MaxChoices  int           // of one request: prompts times n; 0 is DefaultMaxChoices
	Fingerprint string        // system_fingerprint
	Version     string        // of /version
	MaxBody     int64         // bytes of a request body; 0 is DefaultMaxBody
	ReadLimit   time.Duration // a body that takes longer to arrive is cut off; 0 is DefaultReadLimit
	WriteLimit  time.Duration // a client that takes nothing for so long is cut off; 0 is DefaultWriteLimit
	Seed        func() uint64 // seeds requests that bring none; nil is crypto/rand
	Log         *slog.Logger  // nil discards
}

// What a Config's zero limits stand for.
const (
	// DefaultMaxBody is far above the text of any context that fits a CPU
	// (100 000 tokens are about half a megabyte).
	DefaultMaxBody = 8 << 20
	// DefaultMaxLogprobs is OpenAI's limit in chats, and vLLM's.
	DefaultMaxLogprobs = 20
	// DefaultMaxChoices is twice OpenAI's limit of n. Evaluation harnesses send
	// batches of prompts; few send more than this at once.
	DefaultMaxChoices = 256
	// DefaultReadLimit lets 8 MiB through at 280 kB/s.
	DefaultReadLimit = 30 * time.Second
	// DefaultWriteLimit is the longest that one write may be stuck. Kernel
	// buffers come first, so it starts some megabytes behind.
	DefaultWriteLimit = 30 * time.Second
)

// Server answers the API's routes.
type Server struct {
	cfg     Config
	mux     *http.ServeMux
	created int64
	eos     []int32       // ids that end a generation
	models  []byte        // answer of /v1/models
	version []byte        // answer of /version
	large   chan struct{} // held while a large text is encoded
	metrics *metrics
}

// New makes a Server. It fails on a Config that lacks a part.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Engine == nil || cfg.Tokenizer == nil:
		return nil, errors.New("api: Config needs an Engine and a Tokenizer")
	case len(cfg.Models) == 0 || slices.Contains(cfg.Models, ""):
		return nil, errors.New("api: Config needs a model name, and none may be empty")
	case cfg.MaxModelLen < 2 || cfg.Vocab < 1:
		return nil, errors.New("api: Config needs a context of at least 2 tokens and a vocabulary")
	case cfg.Defaults.TopP == 0:
		return nil, errors.New("api: Config needs Defaults (temperature 1, top_p 1)")
	}
	if cfg.MaxLogprobs == 0 {
		cfg.MaxLogprobs = DefaultMaxLogprobs
	}
	if cfg.MaxChoices == 0 {
		cfg.MaxChoices = DefaultMaxChoices
	}
	if cfg.MaxBody == 0 {
		cfg.MaxBody = DefaultMaxBody
	}
	if cfg.ReadLimit == 0 {
		cfg.ReadLimit = DefaultReadLimit
	}
	if cfg.WriteLimit == 0 {
		cfg.WriteLimit = DefaultWriteLimit
	}
	if cfg.Seed == nil {
		cfg.Seed = randomSeed
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, mux: http.NewServeMux(), created: time.Now().Unix(), large: make(chan struct{}, 1)}
	for _, id := range cfg.Tokenizer.EOS() {
		if int(id) < cfg.Vocab { // a tokenizer may know more ids than the model
			s.eos = append(s.eos, id)
		}
	}
	var err error
	if s.metrics, err = newMetrics(cfg.Engine, cfg.Models[0], cfg.MaxModelLen); err != nil {
		return nil, fmt.Errorf("api: registering metrics: %w", err)
	}
	s.cfg.Engine = measured{cfg.Engine, s.metrics}
	s.routes()
	return s, s.fixedAnswers()
}

// endpoint is a method of a path.
type endpoint struct {
	method, pattern string
	handle          http.HandlerFunc
}

// endpoints lists every route; doc.go has the same table.
func (s *Server) endpoints() []endpoint {
	return []endpoint{
		{"POST", "/v1/completions", s.generate(completions)},
		{"POST", "/v1/chat/completions", s.generate(chat)},
		{"POST", "/tokenize", s.tokenize},
		{"POST", "/detokenize", s.detokenize},
		{"GET", "/metrics", s.metrics.handler.ServeHTTP},
		{"GET", "/load", s.load},
		{"POST", "/reset_prefix_cache", s.resetPrefixCache},
		{"POST", "/generate", s.tgiGenerate(tgiGenerate)},
		{"POST", "/generate_stream", s.tgiGenerate(tgiStream)},
		{"POST", "/{$}", s.tgiGenerate(tgiCompat)},
		{"GET", "/{$}", s.health},
		{"GET", "/info", s.tgiInfo},
		{"GET", "/v1/models", func(w http.ResponseWriter, _ *http.Request) { s.writeJSON(w, http.StatusOK, s.models) }},
		{"GET", "/v1/models/{id...}", s.model},
		{"GET", "/health", s.health},
		{"GET", "/ping", s.health},
		{"GET", "/version", func(w http.ResponseWriter, _ *http.Request) { s.writeJSON(w, http.StatusOK, s.version) }},
	}
}

// routes makes the mux. A path with another method is a 405, any other path a 404.
func (s *Server) routes() {
	allowed := map[string]string{} // by pattern
	for _, rt := range s.endpoints() {
		s.mux.HandleFunc(rt.method+" "+rt.pattern, rt.handle)
		allowed[rt.pattern] = strings.TrimPrefix(allowed[rt.pattern]+", "+rt.method, ", ")
	}
	for pattern, methods := range allowed {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Allow", methods)
			s.writeError(w, &apiError{http.StatusMethodNotAllowed, typeMethod, "",
				r.Method + " is not allowed on " + r.URL.Path + "; use " + methods})
		})
	}
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.writeError(w, &apiError{http.StatusNotFound, typeNotFound, "", "there is no route " + r.URL.Path})
	})
}

// ServeHTTP answers one request. Each step of an answer has a time limit of its
// own, because the server's own limits would end long streams.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	now := time.Now()
	// Not every ResponseWriter has deadlines (tests); then there is no limit.
	_ = rc.SetReadDeadline(now.Add(s.cfg.ReadLimit))
	_ = rc.SetWriteDeadline(now.Add(s.cfg.WriteLimit))
	s.mux.ServeHTTP(w, r)
}

// modelCard is one entry of /v1/models.
type modelCard struct {
	ID          string  `json:"id"`
	Object      string  `json:"object"`
	Created     int64   `json:"created"`
	OwnedBy     string  `json:"owned_by"`
	Root        string  `json:"root"`
	Parent      *string `json:"parent"`
	MaxModelLen int     `json:"max_model_len"`
}

func (s *Server) card(id string) modelCard {
	return modelCard{ID: id, Object: "model", Created: s.created, OwnedBy: "servebench",
		Root: s.cfg.Root, MaxModelLen: s.cfg.MaxModelLen}
}

func (s *Server) fixedAnswers() (err error) {
	cards := make([]modelCard, len(s.cfg.Models))
	for i, id := range s.cfg.Models {
		cards[i] = s.card(id)
	}
	if s.models, err = json.Marshal(struct {
		Object string      `json:"object"`
		Data   []modelCard `json:"data"`
	}{"list", cards}); err != nil {
		return err
	}
	s.version, err = json.Marshal(map[string]string{"version": s.cfg.Version})
	return err
}

// model answers /v1/models/{id}; ids may hold slashes.
func (s *Server) model(w http.ResponseWriter, r *http.Request) {
	id := r.PathValue("id")
	if err := s.checkModel(id); id == "" || err != nil {
		s.writeError(w, s.unknownModel(id))
		return
	}
	b, err := json.Marshal(s.card(id))
	if err != nil {
		s.writeError(w, err)
		return
	}
	s.writeJSON(w, http.StatusOK, b)
}

// health answers 200 without a body, or says why nothing can be served.
func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	if err := s.cfg.Engine.Healthy(); err != nil {
		s.writeError(w, &apiError{http.StatusServiceUnavailable, typeUnavailable, "", err.Error()})
		return
	}
	w.WriteHeader(http.StatusOK)
}

// checkModel refuses a name that is not served; "" stands for the first.
func (s *Server) checkModel(name string) error {
	if name == "" || slices.Contains(s.cfg.Models, name) {
		return nil
	}
	return s.unknownModel(name)
}

func (s *Server) unknownModel(name string) *apiError {
	return &apiError{http.StatusNotFound, typeNotFound, "model",
		"there is no model `" + quote([]byte(name)) + "` here; served: " + strings.Join(s.cfg.Models, ", ")}
}

// writeJSON answers with a whole body. What it cannot send, the client is no
// longer there for.
func (s *Server) writeJSON(w http.ResponseWriter, status int, body []byte) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.cfg.WriteLimit))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
