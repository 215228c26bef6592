// Package gguftest writes small GGUF files for tests, sound ones and, on
// request, ones that lie:
//
//  1. New starts a file; Set adds metadata, Tensor adds tensors.
//  2. Offset and Raw put in what a sound file would not have.
//  3. Bytes or Write lays it out.
package gguftest
