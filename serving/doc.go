// Package serving is the root of the custom server: an OpenAI-compatible API,
// continuous batching over a paged KV cache, and models written over the
// operations of package kernels. It has no code of its own; this is where to
// begin reading.
//
// # The life of a request, file by file
//
// A client posts a prompt to /v1/completions and reads one token after another.
//
//  1. api/generate.go takes the HTTP request. accept reads the body (body.go),
//     checks its fields (fields.go) and their values (params.go), and has the
//     prompt encoded (prompts.go); what cannot be served is answered here.
//  2. tokenizer/tokenizer.go: EncodePrompt, or Chat (chat.go) and Encode, turn
//     text into token ids.
//  3. engine/engine.go: Submit checks the ids against the vocabulary and the
//     context and leaves the request in a list. The engine's goroutine, the only
//     one that touches the scheduler and the device, takes it in at its next turn
//     (intake) and repeats: schedule, forward, sample, emit.
//  4. sched/sched.go: Schedule picks the rows of the step: a token for every
//     sequence that decodes, and chunks of prompts in what is left.
//  5. kvcache/kvcache.go: Find looks for blocks that hold the prompt's beginning
//     already, and Grow gives the sequence those that the other tokens are
//     written to.
//  6. models/gpt2.go (or decoder.go, which Llama, Mistral and Qwen2 share, or
//     phi.go): Model.Forward (model.go) hands the device the
//     step that engine/step.go described, then forward, here, calls the
//     operations layer by layer.
//  7. kernels/kernels.go is the operations' contract; kernels/doc.go has their
//     equations. Forward waits in End and reads back the rows of logits.
//  8. One kernel file: kernels/ref/ops.go is the plainest; kernels/cpu/matmul.c
//     deals out the products that take most of the time.
//
// On a GPU steps 6 and 7 are Model.Submit and Model.Drawn (models/device.go): tokens are
// drawn where the logits are, and while a step is computed the next one is prepared
// (engine/doc.go).
//
// And back: sample/sampler.go draws a token from each row; engine/step.go
// (settle) appends it to its sequence, which makes it the next step's input, and
// ends the sequence at a stop token or at max_tokens; Stream.Next
// (engine/stream.go) hands it to the handler; api/generation.go turns it into
// text and looks for stop strings; api/sse.go sends the event.
//
// When the client goes away its request's context is cancelled: the engine takes
// the sequence out before the next step and its blocks are free for it.
//
// # The packages
//
//	cmd/serve      the program: flags, loading, signals
//	cmd/tokenize   the tokenizer as a program, for the benchmark suite
//	api            OpenAI routes, server-sent events, errors
//	clients        tests of the API with the clients that people have
//	tokenizer      text to ids and back, chat templates
//	engine         the step loop; streams
//	sched          what the next step computes
//	kvcache        which cache block belongs to whom
//	sample         a token from a row of logits
//	models         architectures, over kernels' operations
//	weights        checkpoints: safetensors, GGUF, dummy
//
// # Who may know whom
//
// api knows the tokenizer and the engine, and no tensor. The engine knows models
// only as its own interface Model. sched and kvcache see no device; models see
// operations, not the scheduler. Nothing here is imported by the benchmark
// suite, which meets the server only over HTTP. A test holds this (imports_test.go).
//
// # Whose goroutine
//
// Every HTTP request has one, in which its prompt is encoded and its tokens are
// decoded, so that neither holds up a step; of a request for several choices each
// has one more, and the first merges them. The engine has one, locked to its
// thread, and a few that help it to sample. A device may have threads of its own.
package serving
