// Package tokenizertest stands in for the tokenizer program in tests: the test
// binary runs itself as the program.
//
//  1. TestMain calls Main first, which serves the protocol and exits where the
//     process was started as the program.
//  2. A test calls Use, which points the environment at the test binary and
//     says how the program shall behave.
//
// Local is the same tokenizer without a process.
package tokenizertest
