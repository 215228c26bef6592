// Package weights finds and opens model checkpoints and gives every one of
// them the face of a Hugging Face folder: a config.json and tensors under the
// names and in the layout of Transformers.
//
//  1. Resolve turns what --model names into a Location: a folder or a .gguf
//     file as it is, a hub id through datasets/hub, which downloads what its
//     cache lacks.
//  2. Location.Open picks the container: openFolder for safetensors (one file,
//     or the shards that an index lists), openGGUF, or newDummy.
//  3. A folder's tensors are given as they lie in the mapped files.
//  4. A GGUF file's metadata becomes the config.json it was converted from
//     (ggufConfig; rope for the rotation's scaling), its tensors get their
//     Transformers names (scheme), the row order that llama.cpp changed is
//     restored, what it transposed is transposed back and what it joined is
//     divided (restore); quantised types become float32.
//  5. Dummy weights are drawn from a counter-based generator, tensor by tensor
//     when they are asked for: the same for a seed and a name on every machine.
//  6. Shapes gives any of them without data, for who wants to know how large a
//     model is before it is loaded.
//
// GGUF has no place for some of what a config.json says, and llama.cpp ignores it
// too: GPT-2's scale_attn_weights and activation, Qwen2's sliding window, YaRN's
// truncate, attention_factor and mscale. A converted model that needs them
// computes something else than its original.
//
// The pages of mapped files are given back while the rest is loaded (package
// mapped), and tensors that are drawn or restored share a few buffers (Recycler):
// what a checkpoint takes is bounded by a few of its largest tensors.
//
// Nothing is converted to the device's dtype here: the device does that when it
// loads a tensor.
package weights
