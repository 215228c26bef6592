package results

import "slices"

// Kind says what a metric is about, so that a run can report only some.
type Kind string

// The kinds of metric.
const (
	KindLatency    Kind = "latency"    // a time per request, per token or per gap
	KindThroughput Kind = "throughput" // work per second
	KindResource   Kind = "resource"   // memory and CPU time
	KindCheck      Kind = "check"      // tells whether the other figures can be trusted
)

// Metric is one figure of a case: its unit in the Go benchmark format, its
// column in results.csv, and how the two relate.
type Metric struct {
	Unit   string  // benchfmt's unit; "" for a figure that only the CSV has
	Column string  // results.csv's column; its suffix is the SI base unit
	Scale  float64 // value in Unit = value in Column × Scale
	Better string  // "lower" or "higher"
	Kind   Kind
	Doc    string // definition, one line
}

const (
	lower  = "lower"
	higher = "higher"
	nano   = 1e9 // benchstat rescales "ns" alone, so every time is printed in it
)

// Metrics lists every figure in the order of results.csv's columns.
// Definitions: "start" is when the request was sent under closed-loop load
// and when it was scheduled under open-loop load. Only completed requests count.
var Metrics = []Metric{
	{"ns/op", "latency_mean_s", nano, lower, KindLatency, "mean latency: last byte of the last token-bearing chunk − start"},
	{"p50-latency-ns", "latency_p50_s", nano, lower, KindLatency, "latency, median"},
	{"p90-latency-ns", "latency_p90_s", nano, lower, KindLatency, "latency, 90th percentile"},
	{"p99-latency-ns", "latency_p99_s", nano, lower, KindLatency, "latency, 99th percentile"},
	{"p50-p2ft-ns", "p2ft_p50_s", nano, lower, KindLatency, "prompt to first token, median: first chunk with text − start; streams only"},
	{"p99-p2ft-ns", "p2ft_p99_s", nano, lower, KindLatency, "prompt to first token, 99th percentile; streams only"},
	{"p50-tpot-ns", "tpot_p50_s", nano, lower, KindLatency, "time per output token after the first, median: (last − first token) / (n − 1), n > 1; streams of two chunks or more"},
	{"p99-tpot-ns", "tpot_p99_s", nano, lower, KindLatency, "time per output token after the first, 99th percentile"},
	{"p50-itl-ns", "itl_p50_s", nano, lower, KindLatency, "gap between consecutive token-bearing chunks, pooled over requests, median; streams only"},
	{"p99-itl-ns", "itl_p99_s", nano, lower, KindLatency, "gap between consecutive token-bearing chunks, 99th percentile; streams only"},
	{"gen-tok/s", "gen_tok_per_s", 1, higher, KindThroughput, "generation speed of one stream, median: n / (last − first token); in sync mode n / latency"},
	{"out-tok/s", "out_tok_per_s", 1, higher, KindThroughput, "output tokens / wall time from first send to last token"},
	{"total-tok/s", "total_tok_per_s", 1, higher, KindThroughput, "prompt and output tokens / the same wall time"},
	{"req/s", "req_per_s", 1, higher, KindThroughput, "completed requests / the same wall time"},
	{"good-req/s", "good_req_per_s", 1, higher, KindThroughput, "completed requests that kept every limit of the SLO / the same wall time; of a limit that the mode cannot tell nothing is asked"},
	{"host-mem-B", "host_mem_b", 1, lower, KindResource, "peak resident memory of the server's process tree, shared pages counted in each process; where its processes cannot be seen, the peak working set of its container"},
	{"host-mem-pss-B", "host_mem_pss_b", 1, lower, KindResource, "peak proportional memory of the tree, shared pages counted once; sampled more rarely, Linux only"},
	{"", "container_mem_b", 1, lower, KindResource, "peak working set of the server's container: its control group's memory without the file cache that can be dropped"},
	{"", "server_cpu_s", 1, lower, KindResource, "CPU time of the server's process tree over the case; where its processes cannot be seen, of its container"},
	{"server-cpu-ns/ktok", "server_cpu_s_per_ktok", nano, lower, KindResource, "CPU time of the server / output tokens × 1,000"},
	{"", "suite_cpu_s", 1, lower, KindResource, "CPU time of the suite itself over the case"},
	{"suite-cpu-ns/ktok", "suite_cpu_s_per_ktok", nano, lower, KindResource, "CPU time of the suite itself / output tokens × 1,000"},
	{"gpu-mem-B", "gpu_mem_b", 1, lower, KindResource, "peak GPU memory of the server's processes, summed over its GPUs; where the driver's process numbers mean nothing here, that of the GPUs beyond what they held before"},
	{"gpu-device-mem-B", "gpu_device_mem_b", 1, lower, KindResource, "peak memory in use on the server's GPUs, whoever uses it"},
	{"", "gpu_util", 1, higher, KindResource, "share of the time in which a kernel ran, mean over looks and GPUs, 0 to 1"},
	{"", "gpu_sm_clock_hz", 1, higher, KindCheck, "SM clock, mean over looks and GPUs"},
	{"", "gpu_mem_clock_hz", 1, higher, KindCheck, "memory clock, mean over looks and GPUs"},
	{"", "gpu_power_w", 1, lower, KindResource, "power of the server's GPUs together, mean over the case"},
	{"", "gpu_energy_j", 1, lower, KindResource, "energy of the server's GPUs together over the case: difference of the driver's counters, or power added up (a note says so)"},
	{"J/tok", "gpu_energy_j_per_tok", 1, lower, KindResource, "energy of the server's GPUs / output tokens"},
	{"", "gpu_temp_c", 1, lower, KindCheck, "highest temperature of a GPU, °C"},
	{"", "running_peak", 1, higher, KindCheck, "requests that the server computed at once, at most, as it told about once a second"},
	{"", "waiting_peak", 1, lower, KindCheck, "requests that waited in the server, at most"},
	{"", "kv_cache_peak", 1, lower, KindCheck, "share of the server's KV cache in use, at most, 0 to 1"},
	{"", "dispatch_p50_s", 1, lower, KindCheck, "the suite's own lag: sent − scheduled, median; all requests that were sent"},
	{"p99-dispatch-ns", "dispatch_p99_s", nano, lower, KindCheck, "the suite's own lag, 99th percentile"},
	{"", "dispatch_max_s", 1, lower, KindCheck, "the suite's own lag, largest"},
	{"", "scheduled_latency_mean_s", 1, lower, KindLatency, "mean latency from the scheduled time"},
	{"", "scheduled_latency_p50_s", 1, lower, KindLatency, "latency from the scheduled time, median"},
	{"", "scheduled_latency_p90_s", 1, lower, KindLatency, "latency from the scheduled time, 90th percentile"},
	{"", "scheduled_latency_p99_s", 1, lower, KindLatency, "latency from the scheduled time, 99th percentile"},
	{"", "scheduled_p2ft_p50_s", 1, lower, KindLatency, "P2FT from the scheduled time, median"},
	{"", "scheduled_p2ft_p99_s", 1, lower, KindLatency, "P2FT from the scheduled time, 99th percentile"},
}

// isOf reports whether the metric is of one of the kinds; none given is all.
func (m *Metric) isOf(kinds []Kind) bool {
	return len(kinds) == 0 || slices.Contains(kinds, m.Kind)
}

// FailedUnit is the benchfmt unit of the number of failed requests. A line
// has it only where there were any: benchstat gives an exact 0 a table of its own.
const FailedUnit = "failed-req"

// Value is a figure as b.ReportMetric and a line of bench.txt take it.
type Value struct {
	Unit  string
	Value float64
}
