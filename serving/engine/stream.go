package engine

import "context"

// Stream gives a request's tokens in order. One goroutine reads it at a time;
// a slow reader holds up nobody.
type Stream struct{}

// Next waits for the next token. The last one has Finish set; after it Next
// returns io.EOF. A request that failed returns its error instead, from then
// on. When ctx (this call's, not Submit's) is done first, Next returns its
// error and the request runs on.
func (s *Stream) Next(ctx context.Context) (Token, error) { return Token{}, nil }

// Close ends the request, if it still runs, as cancelling Submit's context
// does. It does not wait and may be called again.
func (s *Stream) Close() {}
