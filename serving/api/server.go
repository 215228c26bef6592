package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"servebench/serving/engine"
	"servebench/serving/tokenizer"
)

// Errors of an Engine that have their own HTTP status; anything else is a 500.
var (
	// ErrOverloaded is returned by Submit, possibly wrapped, when the engine's
	// queue is full: 503 with Retry-After.
	ErrOverloaded = errors.New("too many requests are waiting")
	// ErrShutdown is returned by Submit, possibly wrapped, once the server is
	// going down: 503.
	ErrShutdown = errors.New("the server is shutting down")
)

// Tokens is the output of one request.
type Tokens interface {
	// Next waits for the next token. The one with Finish set is the last. An
	// error ends the request too: ctx's, or what went wrong in the engine.
	Next(ctx context.Context) (engine.Token, error)
}

// Engine generates. All methods may be called from many goroutines.
type Engine interface {
	// Submit queues a request, or returns ErrOverloaded or ErrShutdown. When
	// ctx ends, so does the request, whether or not anyone reads its tokens.
	// Tokens wait in the engine until they are read; a reader never delays it.
	Submit(ctx context.Context, r engine.Request) (Tokens, error)
	// Healthy returns why the engine can serve nothing any more, or nil.
	Healthy() error
}

// Tokenizer is what the server needs of tokenizer.Tokenizer.
type Tokenizer interface {
	// EncodePrompt encodes a completion's prompt.
	EncodePrompt(text string) []int32
	// Encode encodes a rendered chat, special tokens included.
	Encode(text string, special bool) []int32
	// Chat renders messages; its error is the caller's fault.
	Chat(messages []tokenizer.Message, addGenerationPrompt bool) (string, error)
	// Stream makes an incremental detokeniser.
	Stream(skipSpecial bool) *tokenizer.Stream
	// EOS returns the ids that end a generation.
	EOS() []int32
}

// Defaults stand in for sampling fields that a request leaves out.
type Defaults struct {
	Temperature float64
	TopP        float64
	TopK        int // 0 keeps all
}

// Config is what a Server is made of.
type Config struct {
	Engine      Engine
	Tokenizer   Tokenizer
	Models      []string // names served; the first is used in answers to requests without one
	Root        string   // what --model was: "root" in /v1/models
	Vocab       int      // ids of a token-id prompt are below it
	MaxModelLen int      // context: prompt and output together
	Defaults    Defaults
	Fingerprint string        // system_fingerprint
	Version     string        // of /version
	MaxBody     int64         // bytes of a request body; 0 is DefaultMaxBody
	WriteLimit  time.Duration // a client that takes nothing for so long is cut off; 0 is DefaultWriteLimit
	Seed        func() uint64 // seeds requests that bring none; nil is crypto/rand
	Log         *slog.Logger  // nil discards
}

// Limits that a Config may change.
const (
	DefaultMaxBody    = 8 << 20
	DefaultWriteLimit = 30 * time.Second
)

// Server answers the API's routes.
type Server struct {
	cfg Config
	mux *http.ServeMux
}

// New makes a Server. It fails on a Config that lacks a part.
func New(cfg Config) (*Server, error) { return &Server{cfg: cfg}, nil }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }
