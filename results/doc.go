// Package results turns the raw records of requests into figures, and keeps
// both in a folder that a stranger can read and recompute.
//
// # Pipeline
//
//  1. The suite describes itself with NewEnvironment and opens a run: Resume
//     goes on with the last one if it was cut short and nothing that decides
//     the figures has changed since, Create begins a new one.
//  2. For each server it starts it calls Run.AddServer, with the hash of the
//     weights from DigestWeights, and Run.SetChecked with what was found out
//     about its terms beside other frameworks (contract.go).
//  3. It measures a pass over a case (unless Run.Done has it) as a list of
//     Request, and hands it to Run.Add with what telemetry saw.
//  4. Add checks the records (Request.Check) and computes a Summary: Summarize
//     counts failures by class, sets the sources of token counts against each
//     other (tokens.go) and takes means and percentiles (sample.go).
//  5. Add writes the records, the row and the line to their files, each on the
//     disk before the next, and at last the journal's line. The suite prints
//     the same figures through Summary.Values and b.ReportMetric.
//  6. When all cases have been run, Run.Complete says so.
//
// Load opens a folder for reading. Anybody computes every figure anew from the
// raw records: Folder.Summaries does, and cmd/recompute compares what it gets
// with results.csv.
//
// # A run's folder
//
//	results/runs/<run>/          name sorts by time; results/runs/latest points to the newest
//	  bench.txt                  Go benchmark format, for benchstat: what was printed
//	  results.csv                one row a pass over a case
//	  requests.jsonl             one Request a line, passes one after the other
//	  journal.jsonl              one line a finished pass: its Options, and how long the files were then
//	  environment.json           Environment
//	  contract.json              what was checked before anything was measured, a Checked each
//
// A pass is finished exactly when its line in journal.jsonl is whole. Whatever
// stands in the other files behind the lengths that the last such line gives
// was left by a pass that was cut short: a Folder passes over it, Open cuts it off.
// The journal is locked (flock) while a run is open for writing.
//
// # Figures
//
// Metrics is the list of figures with unit, column and definition. They hold
// for completed requests only; a failed one is counted, with its class from
// ErrorClasses, and is in no latency and no throughput. A figure that cannot be
// had is absent: an empty cell, no value in bench.txt. An exact 0 is a cell
// but not a value, since benchstat gives zeros a table of their own.
//
// CPU time is told for 1,000 output tokens, since that of one is a small number.
// The unit is server-cpu-ns/ktok: benchstat rescales the word ns alone and shows
// server-cpu-sec/ktok, which is CPU seconds per 1,000 tokens.
//
// GPU figures are absent, not 0, where there is no GPU, the program was built
// without -tags gpu, the server runs elsewhere or the driver does not tell; a
// note says which. J/tok is the energy of all of the server's GPUs between
// the moments before the first request was sent and after the last was
// answered, idle power included, divided by the output tokens. GPUUsage says how
// several GPUs make one figure.
//
// Percentiles are Hyndman and Fan's definition 8 (sample.go says why).
//
// Output tokens are the server's usage; where it gave none, the recount of
// the text with the model's own tokenizer; else what the chunks said.
// If a completed request's tokens are not known at all, the case has no token
// throughput. Disagreements are counted in columns of their own.
// A recount may differ though nobody is wrong: an end token that is counted
// has no text, and a model need not write text in its tokenizer's own way.
//
// # The contract
//
// Figures of two frameworks may stand beside each other if both were fed the same
// tokens, ran the same weights in the same type and wrote as much. Options.Contract
// says of a pass which of these terms were kept, and CompareLengths when lengths
// are too far apart. A pass that broke one is told from the others in results.csv
// (contract, contract_terms, notes), in bench.txt (a configuration line "contract",
// by which benchstat parts its tables), and by a mark and a footnote in WriteTable
// and in package ratio's tables.
//
// # results.csv
//
// Comma-separated with a header, SI base units (seconds, bytes), an empty cell
// for what could not be had. Columns lists them with their meaning; in short:
//
//	framework model task mode parallel repeat    which pass over which case
//	requests failed errors                       counts, failures by class
//	start dummy                                  sent or scheduled; weights are noise
//	prompt_tokens output_tokens                  sums, completed requests
//	output_tokens_min _mean _p50 _max            achieved lengths
//	output_at_max                                answers that are max_tokens long
//	usage_missing usage_mismatch                 requests without usage; usage ≠ recount
//	chunk_mismatch prompt_mismatch               chunks' sum ≠ usage; usage ≠ prepared prompt
//	wall_s                                       first send to last token
//	latency_* p2ft_* tpot_* itl_*                seconds
//	gen_tok_per_s out_tok_per_s total_tok_per_s req_per_s
//	good_req_per_s                               requests that kept slo, where one is given
//	host_mem_b host_mem_pss_b                    peak of the server's process tree
//	container_mem_b                              peak of its container's working set
//	server_cpu_s suite_cpu_s …_per_ktok          CPU time; and for 1,000 output tokens
//	gpu_mem_b gpu_device_mem_b                   peak of the server's processes, and of its GPUs
//	gpu_util gpu_*_clock_hz gpu_power_w          means over the case
//	gpu_energy_j …_per_tok                       energy of its GPUs; and for one output token
//	gpu_temp_c gpu_throttle                      highest; what held the clocks down
//	running_peak waiting_peak kv_cache_peak      what the server told of its load, at most
//	slo                                          what good_req_per_s counts by
//	dispatch_*                                   the suite's own lag
//	scheduled_*                                  latency and P2FT from the scheduled time
//	contract contract_terms contract_reference   whether the row may stand beside those of other frameworks
//	cache                                        what the prefix cache could know of the prompts
//	began notes                                  for people
package results
