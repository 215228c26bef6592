// Package tokenizer turns text into a model's token ids and back, and messages
// into the prompt text its chat template writes.
package tokenizer
