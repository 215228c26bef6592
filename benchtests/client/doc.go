// Package client is the wire between the suite and a server: it sends one
// request of the OpenAI API over HTTP/1.1 and says when which bytes came back.
//
// # Pipeline
//
//  1. New opens a pool of connections: as many kept alive as there are requests
//     in flight; no proxy, no compression, no HTTP/2, no redirects, no retries.
//  2. Do sends a Call and keeps the answer as an Exchange: the body's bytes and
//     the time each piece of it arrived. It looks into nothing, so a slow
//     decoder delays neither the next read nor its timestamp.
//  3. Exchange.Decode reads the kept bytes, after the measured window: events
//     splits a stream (sse.go), payload reads the JSON (payload.go), and every
//     piece of generated text becomes a results.Chunk with its arrival.
//  4. What went wrong, on either way, becomes one of results.ErrorClasses
//     (errors.go).
//
// # Timestamps
//
// All are taken on the connection itself, with Go's monotonic clock, as
// durations since Options.Epoch:
//
//   - Sent: just before the system call that hands over the request's last
//     bytes. Taken after it, a fast server's answer could arrive "before".
//   - Headers, and a chunk's At and End: as soon as the system call returns that
//     read its first byte (of data, in an event) and its last. Bytes that arrive
//     in one read share its time. An event is complete with its blank line: no
//     client can use it sooner.
//   - End: when the end of the body had been seen.
//
// net/http hands over a piece of a chunked body only when the HTTP chunk is
// whole or its buffer is full. A server that puts several events into one HTTP
// chunk and then sends that chunk in pieces gets the time of the last piece for
// all of them. No server known to the suite does.
package client
