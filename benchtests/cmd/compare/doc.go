// Command compare measures frameworks beside each other, in turns, and says by
// how much one is ahead of the best of the others.
//
//	go run ./benchtests/cmd/compare -peers /tmp/peers,/tmp/peers-tgi
//	go run ./benchtests/cmd/compare -frameworks custom,llamacpp -models gpt2 -rounds 10 -cases fixed-in21-out64@1 -- -serve-args "--threads 1"
//
// # Pipeline
//
//  1. parse (main.go) reads the flags: which cases (plan.go), of which models, on
//     which frameworks. find (peers.go) looks for every program and model file
//     before anything is started, and says how to get what is missing.
//  2. build (run.go) builds the suite, the server and the tokenizer into the
//     output folder once, so that an edit of the checkout changes nothing.
//  3. plan lists the runs: round by round, model by model, every framework, in
//     the order given in odd rounds and from the last to the first in even ones.
//  4. execute runs the suite for each: one server, alone on the machine, for all
//     cases of a model. Each framework but the first is compared with the first
//     one's run before it is measured (go doc servebench/benchtests/contract).
//     What is finished is kept: started again with the same
//     -out, compare goes on where it was.
//  5. report (report.go) puts all runs together: bench.txt, results.csv, benchstat.txt,
//     ratios.md, ratios.csv, the environments and contracts. The method is in go doc
//     servebench/results/ratio.
//
// Prefix caches are on, as every framework has them by default. Prompts are
// drawn anew in every round, and none is sent twice to a server, so a cache
// helps where a case's prompts begin alike and nowhere else.
//
// A framework that computes one request after the other is measured with few
// in flight only: more would wait for the same throughput.
package main
