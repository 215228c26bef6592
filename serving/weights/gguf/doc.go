// Package gguf reads GGUF files, the model format of llama.cpp, versions 2 and 3.
//
// A file is a header, metadata (typed values under string keys), descriptions
// of the tensors, and the tensors' data:
//
//  1. Open maps the file into memory (package mapped); nothing is copied.
//  2. reader walks header, metadata and tensor descriptions once. Every count
//     and length is compared with the bytes that are left before it is
//     believed, so a file that lies costs neither memory nor time.
//  3. Metadata keeps where each value lies; its getters (String, Uint, Strings, …)
//     decode one on demand and name the key and the type found when it does not fit.
//  4. layout places the tensors and refuses duplicates and those that are out of
//     range, misaligned or overlapping, by name.
//  5. Tensor.Data gives the stored bytes, Tensor.Dequantize rows as float32.
//
// The format: docs/gguf.md of the ggml repository.
package gguf
