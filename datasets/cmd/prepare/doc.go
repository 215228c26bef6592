// Command prepare writes a model's prompts of a dataset to JSONL files, with
// token counts and the request bodies, for every route and mode.
//
//	go run ./datasets/cmd/prepare -dataset trivia_qa -model gpt2 -out prompts
//	go run ./datasets/cmd/prepare -dataset all -model gpt2,phi-2 -out prompts
//	go run ./datasets/cmd/prepare -dataset oasst1 -in rows.jsonl.gz -model gpt2 -tokenizer gpt2.gguf -out prompts
//
// Rows come from the files of -in (JSONL, JSONL.gz or Parquet), else from the
// hub. The output is the same, byte for byte, on every run; each file appears
// whole or not at all.
package main
