// Package models turns a checkpoint into something that computes logits. A
// model is plain Go over the operations of package kernels; it knows shapes and
// the order of operations, and neither the scheduler nor the device's memory.
//
//  1. Describe reads the checkpoint's configuration and looks its model_type up
//     in architectures (registry.go). An unknown one is refused with the list,
//     and so is, by its field's name, whatever a configuration asks for that
//     would change the result and is not done here.
//  2. Open hands every weight to the device, once (loader.go), and allocates the
//     activations for the largest step and the KV cache (model.go).
//  3. Forward runs one step: the architecture's own forward function up to the
//     last layer, of which rows that want no logits only pass the keys and values,
//     then the output head for the others. On a device that draws tokens itself,
//     Submit and Drawn stand in its place; steps in which every sequence decodes
//     run from what Capture has had the device keep (device.go).
//
// An architecture is one file that reads in the order config → weight names →
// layer → forward:
//
//	gpt2.go     GPT-2 and what was trained in its shape
//	phi.go      Phi 1, 1.5 and 2: attention and feed-forward side by side
//	llama.go    Llama 1 to 3, TinyLlama, SmolLM2
//	mistral.go  Mistral: a sliding window
//	qwen2.go    Qwen 2 and 2.5: biases on queries, keys and values
//
// The last three differ in their configurations alone; their weight names,
// layer and forward are those of decoder.go. All are made of the parts in
// blocks.go (products, attention, feed-forward, the pre-norm layer) and rope.go
// (rotary positions and their scalings).
//
// # What a configuration may say
//
// The values that a file leaves out are those of Transformers' configuration
// classes, and a field means what Transformers makes of it. A sequence is never
// longer than max_position_embeddings (n_positions). Rope scaling is taken from
// rope_scaling (before Transformers 5) or rope_parameters (since): linear,
// llama3 and yarn are fixed tables; dynamic is the unscaled one, as Transformers
// scales it only beyond max_position_embeddings; longrope, whose table depends
// on a sequence's length, is refused.
//
// # Windows
//
// Each layer has its own kernels.Attn. Spec.Attn.Window and Model.Window tell
// how far back any of them reads; with 0 nothing in the cache may be given up.
//
// # Parity
//
// parity_test.go compares logits with Transformers' for every architecture and
// option, device, dtype and way of computing a sequence; `make parity` prints
// the table.
package models
