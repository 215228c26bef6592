// Command tokenize counts tokens as the server does, for other programs and for
// people: one JSON object a line in, one a line out, in the same order.
//
//		tokenize --model FOLDER|FILE.gguf|HUB-ID [--load-format auto|dummy]
//
//	 1. open (open.go) finds the model, downloading its tokenizer where it must,
//	    and reads it. The first line out says that it is ready:
//	    {"ready":true,"vocab_size":49152,"chat_template":true,"eos":[2]}
//	    or, before it exits with status 1, why it is not: {"error":"…"}.
//	 2. serve (answer.go) reads lines until the input ends:
//	    {"text":"…"}                 the ids of a text; with "special":false without
//	    those that the model puts around a prompt (a beginning-of-sequence id).
//	    Special tokens written out in the text are special either way
//	    {"messages":[{"role":"user","content":"…"}]}   the ids of a conversation in
//	    the model's chat template; "add_generation_prompt":false leaves out the
//	    opening of the assistant's turn
//	    {"ids":[…]}                  the text of ids; with "skip_special":true without special tokens
//	 3. answer replies to each with {"ids":[…],"count":N}, {"text":"…"} or, for a line
//	    it cannot answer, {"error":"…"}; it goes on with the next one.
//
// Answers are written at the latest when there is nothing left to read. The exit
// status is 2 when the command line is at fault.
package main
