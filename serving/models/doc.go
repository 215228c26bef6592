// Package models turns a checkpoint into something that computes logits. A
// model is plain Go over the operations of package kernels; it knows shapes and
// the order of operations, and neither the scheduler nor the device's memory.
//
//  1. Describe reads the checkpoint's configuration and looks its model_type up
//     in architectures (registry.go). An unknown one is refused with the list.
//  2. Open hands every weight to the device, once (loader in blocks.go), and
//     allocates the activations for the largest step and the KV cache.
//  3. Forward runs one step: the architecture's own forward function (gpt2.go,
//     llama.go) up to the last layer, then the output head for the rows that
//     want logits (Model.head).
//
// An architecture is one file that reads in the order config → weight names →
// layer → forward. What they share is in blocks.go.
package models
