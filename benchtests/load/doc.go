// Package load decides when each request of a case is sent.
//
// # Pipeline
//
//  1. The caller hands Run a source of requests: more says, before each one,
//     whether there is another (a benchmark's b.Loop).
//  2. The Model hands them out in order, each with the time it wanted it sent
//     (Dispatch.Scheduled), to do, which sends it and returns when it is over.
//  3. Run returns when every request handed out is over.
//
// Closed is the closed loop: a fixed number of workers, each of which sends its
// next request as soon as its last one is over. Its Scheduled is the moment the
// worker was free, so that sent − scheduled is the suite's own lag. Open-loop
// models (a Poisson process, a trace) schedule by the clock and implement the
// same interface.
package load
