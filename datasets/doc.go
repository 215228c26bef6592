// Package datasets turns rows of public datasets into the prompts a model is
// measured with: the same ones for every framework, counted in the model's own
// tokens, and the same, byte for byte, on every run.
//
//  1. Load: Dataset.Open reads JSONL, gzipped JSONL or Parquet files,
//     Dataset.Download gets a split's Parquet files from the hub. Source.Rows
//     yields one Row after another and stops at the first bad one, naming file
//     and line. Each dataset has a file with its row type and its rule:
//     oasst1.go, cnn_dailymail.go, trivia_qa.go, openai_humaneval.go.
//  2. Rule: a row that the dataset's rule turns away is dropped, and so is one
//     whose id or text an earlier row had.
//  3. Count: a Tokenizer counts the text that would be sent, special tokens
//     left out; TokenizerProcess asks the program serving/cmd/tokenize, since
//     nothing here may import the server. Closed-book questions are filled up
//     with examples (fewshot.go), as few as bring them into the window.
//  4. Window: what is outside Task.Windows().In is dropped. The window is on
//     the text, so one set serves both routes; Tokens has besides what each
//     route feeds the model.
//  5. Draw: the rows are ordered by SHA-256 of seed, dataset and id, and the
//     first N taken. More rows, or another order of them, leave the order of
//     those that were there as it is.
//  6. Write: Set.WriteFile writes header and request bodies of one route and
//     mode; Load reads them back and checks every byte that matters.
//
// Prepare does steps 2 to 5; the command datasets/cmd/prepare all of them.
// Every row is accounted for: Header.Rows says how many were read, dropped for
// which reason, kept and drawn.
//
// The token windows of answers are recorded, not held: max_tokens of the
// sampling table caps an answer and can be above the window, a model may end
// sooner, and no stop string or ignore_eos is set here. Whether the achieved
// lengths are in the window is for who measures to say.
//
// WarmUp has prompts of its own, which are in no measured set.
//
// DrawFixed (fixed.go) draws prompts of set lengths from the same rows, for
// what depends on lengths alone.
package datasets
