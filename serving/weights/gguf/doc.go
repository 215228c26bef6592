// Package gguf reads GGUF files, the model format of llama.cpp.
package gguf
