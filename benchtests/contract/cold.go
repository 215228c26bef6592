package contract

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"

	"servebench/datasets"
)

// What a server's prefix cache could know of a pass's prompts: the words of
// results.Options.Cache.
const (
	CacheOff      = "off"      // there is none, or it is turned off
	CacheDrawn    = "drawn"    // the prompts are in no other pass
	CacheReset    = "reset"    // it was emptied before the pass, and as prefixed
	CachePrefixed = "prefixed" // every prompt begins with words of the pass's own
	CacheShared   = "shared"   // the prefix that prompts share, from the warm-up
	CacheUnknown  = "unknown"  // the server is started by somebody else
)

// Resetter is a target that can have its server forget prompts.
// errors.ErrUnsupported says that the server has no such route.
type Resetter interface {
	Reset(ctx context.Context, client *http.Client, baseURL, model string) error
}

// ColdOptions are what Cold works with.
type ColdOptions struct {
	Server
	Resetter  Resetter // nil: there is none
	Tokenizer datasets.Tokenizer
	Prompts   []datasets.Prompt
	// Key names the pass: equal keys give equal words. It has the framework not
	// in it, so that all frameworks are sent the same.
	Key string
}

// Cold makes a server that caches what prompts begin with know nothing of the
// prompts to come. It empties the cache where it can, and returns the prompts to
// send, which begin with words of the pass's own. They do so on every framework,
// with a route that empties its cache or without: the same prompts are a term of
// the contract. With them come a word for the row, and a note.
func Cold(ctx context.Context, o ColdOptions) (prompts []datasets.Prompt, cache, note string, err error) {
	prompts, opening, err := o.prefixed(ctx)
	if err != nil {
		return nil, "", "", fmt.Errorf("prompts that no cache knows: %w", err)
	}
	note = fmt.Sprintf("every prompt begins with %q, on all frameworks alike, so that no cache knows it", opening)
	if o.Resetter == nil {
		return prompts, CachePrefixed, note, nil
	}
	switch err := o.Resetter.Reset(ctx, o.Client, o.URL, o.Served); {
	case err == nil:
		return prompts, CacheReset, note, nil
	case ctx.Err() != nil:
		return nil, "", "", context.Cause(ctx)
	case !errors.Is(err, errors.ErrUnsupported):
		note += fmt.Sprintf("; the cache was not emptied: %v", err)
	}
	return prompts, CachePrefixed, note, nil
}

// Opening returns the words that the prompts of a pass begin with: 40 bits in
// digits, so that no two passes have the same. It is shorter than a block of any
// cache: within the pass nothing is kept for it alone, and what follows a block
// that differs is another entry.
func Opening(key string) string {
	sum := sha256.Sum256([]byte(key))
	return fmt.Sprintf("(%x) ", sum[:5])
}

// prefixed puts the opening before every prompt, and counts anew.
func (o *ColdOptions) prefixed(ctx context.Context) ([]datasets.Prompt, string, error) {
	opening := Opening(o.Key)
	prompts := make([]datasets.Prompt, len(o.Prompts))
	texts := make([]string, len(prompts))
	talks := make([][]datasets.Message, len(prompts))
	chat := false
	for i, p := range o.Prompts {
		p.Text = opening + p.Text
		chat = chat || p.Tokens.Chat > 0
		prompts[i], texts[i], talks[i] = p, p.Text, p.Messages()
	}
	bare, err := o.Tokenizer.Count(ctx, texts, false)
	if err != nil {
		return nil, "", err
	}
	fed, err := o.Tokenizer.Count(ctx, texts, true)
	if err != nil {
		return nil, "", err
	}
	inChat := make([]int, len(prompts))
	if chat {
		if inChat, err = o.Tokenizer.CountChat(ctx, talks); err != nil {
			return nil, "", err
		}
	}
	for i := range prompts {
		prompts[i].Tokens = datasets.Tokens{Text: bare[i], Completion: fed[i], Chat: inChat[i]}
	}
	return prompts, opening, nil
}
