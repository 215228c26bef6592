// Package safetensors reads safetensors files, the format of Hugging Face's
// model weights: the length of a JSON header, the header, the tensors' data.
//
//  1. Open maps the file into memory (package mapped); nothing is copied.
//  2. parse compares the header's length with the file's before it reads it.
//  3. decode reads the header: one entry a tensor, none twice, nothing missing.
//  4. place checks each entry's dtype and shape against its offsets, and all
//     offsets together: they must cover the data without overlap and without a
//     hole, as the format demands.
//  5. Tensor.Data gives the bytes of one tensor.
//
// The format: the README of the safetensors repository.
package safetensors
