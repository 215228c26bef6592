// Package clients tests the server with the client libraries that people use
// against servers like it, unchanged: openai for Python and for JavaScript,
// openai-go, and TGI's: text-generation and huggingface_hub. It has no code
// outside its tests.
//
// # How a test runs
//
//  1. start (server_test.go) builds serving/cmd/serve and runs it on a free port
//     of the loopback: with random weights of a tiny model and, where they are
//     cached, with SmolLM2's real ones (`make smollm2`).
//  2. openai-go is a Go module and always runs (openai_go_test.go).
//  3. The scripts python/openai_client.py, python/text_generation_client.py and
//     node/openai_client.mjs are run with the interpreters of a prepared folder
//     (scripts_test.go). Each is told the server's URL, asserts what it gets, and
//     says a line for every check that passed; the test knows their names, so a
//     script that checks nothing fails.
//
// All of them ask for the same: chat and completion, whole and streamed, usage,
// log-probabilities, several choices, stop strings, and the exceptions that a
// wrong model (404) and a bad value (400) become.
//
// # The prepared folder
//
// `make clients` fills it (install.sh) with the versions pinned in
// python/requirements.txt and node/package-lock.json, Node itself among them, and
// runs the tests with its name in SERVEBENCH_CLIENTS. They fail when it lacks
// anything. Without that variable, as in `make test`, the scripts are skipped.
package clients
