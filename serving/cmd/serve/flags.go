package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"servebench/kernels"
	"servebench/kernels/cuda"
	"servebench/serving/weights"
)

// options are the command line. Counts are 0 where the default depends on the model.
type options struct {
	model           string
	names           []string // --served-model-name
	host            string
	port            int
	device          string
	cudaLibrary     string
	gpuUtil         float64 // --gpu-memory-utilization
	enforceEager    bool
	dtype           kernels.DType
	dtypeAuto       bool // dtype was not asked for
	loadFormat      weights.LoadFormat
	genConfig       string
	maxModelLen     int
	maxSeqs         int
	maxTokens       int
	maxPrefill      int // --long-prefill-token-threshold; -1: not given
	maxLogprobs     int
	blockSize       int
	kvBytes         int64
	prefixCaching   bool
	threads         int
	seed            uint64
	seedGiven       bool
	shutdownTimeout time.Duration
	maxRequestBytes int64
	version         bool
}

// usageError is the command line's fault: exit status 2.
type usageError struct{ error }

func usage(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Defaults of the flags.
const (
	// defaultMaxSeqs is far above what a CPU gains from: a step's time grows
	// with its rows once the weights are read at the speed of memory.
	defaultMaxSeqs = 64
	// defaultMaxTokens bounds a step, and so the memory for activations; 512 rows
	// already amortise reading the weights.
	defaultMaxTokens = 512
	// defaultMaxPrefill bounds how long a prompt keeps the tokens of the streams
	// that run waiting: one step, of so many rows more than theirs. With SmolLM2's
	// shapes, 1000 tokens of context and 2 Zen 5 cores 128 rows are a gap of 0.15 s,
	// read at 87% of the speed of 512, whose gap is 0.5 s; 64 are read at 81%, 256
	// at 93% (the best of 12 steps each; BenchmarkGap in package serving).
	defaultMaxPrefill = 128
	// defaultBlockSize is vLLM's for CPUs with short contexts: half a block is
	// wasted per sequence.
	defaultBlockSize = 16
	// A GPU computes a step of some hundred rows while it reads the weights, and has
	// memory that waits for streams: the defaults are vLLM's, except that prompts
	// leave room for those who wait for a token. 512 rows of a model of 7 billion
	// weights are 7 TFLOP, 10 to 25 ms where tensor cores do 300 to 700 TFLOP/s, and
	// enough of them to keep those busy.
	gpuMaxSeqs             = 256
	gpuMaxTokens           = 2048
	gpuMaxPrefill          = 512
	defaultGPUUtil         = 0.9
	defaultPort            = 8000
	defaultShutdownTimeout = 10 * time.Second
	defaultMaxRequestBytes = 8 << 20
)

// parseFlags reads the command line. flag.ErrHelp means that help was asked
// for and written to out; any other error is a usageError.
func parseFlags(args []string, out io.Writer) (*options, error) {
	o := &options{host: "127.0.0.1", port: defaultPort, device: "auto", dtype: kernels.BF16, dtypeAuto: true,
		loadFormat: weights.Auto, genConfig: "auto", maxPrefill: -1, gpuUtil: defaultGPUUtil,
		blockSize: defaultBlockSize, prefixCaching: true, shutdownTimeout: defaultShutdownTimeout, maxRequestBytes: defaultMaxRequestBytes}
	fs := flag.NewFlagSet("serve", flag.ContinueOnError)
	fs.SetOutput(io.Discard) // errors are told by the caller, once
	fs.StringVar(&o.model, "model", "", "`folder`, .gguf file or hub id (org/name); required")
	fs.Func("served-model-name", "`name` to serve the model under, or several with commas; the flag may be repeated (default: --model)", o.addNames)
	fs.StringVar(&o.host, "host", o.host, "`address` to listen on (default 127.0.0.1)")
	intFlag(fs, "port", "`port` to listen on; 0 takes a free one and prints it", 0, 65535, &o.port)
	choiceFlag(fs, "device", "auto takes the GPU where there is one, else the CPU", []string{"auto", "cpu", "cuda"}, func(v string) { o.device = v })
	fs.StringVar(&o.cudaLibrary, "cuda-library", "", "`file` with the CUDA kernels, "+cuda.LibraryName+" (default: $"+cuda.LibraryVariable+", or next to this program, in ../lib, or where the system looks)")
	fs.Func("gpu-memory-utilization", "`share` of the GPU's memory, over 0 and at most 1, that may be in use, by this server and by others (default 0.9); the KV cache takes what the rest leaves of it", o.setGPUUtil)
	fs.BoolVar(&o.enforceEager, "enforce-eager", false, "have a GPU run every step kernel by kernel, and none of those in which all sequences decode as a CUDA graph")
	choiceFlag(fs, "dtype", "of matrices and KV cache; auto is bfloat16, and on a GPU float16 for a checkpoint in that; half is float16, which takes a GPU", []string{"auto", "bfloat16", "float16", "half", "float32"}, o.setDType)
	choiceFlag(fs, "load-format", "dummy: seeded random weights in the model's shapes", []string{"auto", "dummy"},
		func(v string) { o.loadFormat = weights.LoadFormat(v) })
	choiceFlag(fs, "generation-config", "where sampling defaults come from: auto takes the model's generation_config.json, vllm takes temperature 1, top_p 1",
		[]string{"auto", "vllm"}, func(v string) { o.genConfig = v })
	countFlag(fs, "max-model-len", "most `tokens` of prompt and output together (default: what the model was made for)", 2, &o.maxModelLen)
	byDevice := func(cpu, gpu int) string { return fmt.Sprintf(" (default %d, on a GPU %d)", cpu, gpu) }
	countFlag(fs, "max-num-seqs", "most `sequences` in a step"+byDevice(defaultMaxSeqs, gpuMaxSeqs), 1, &o.maxSeqs)
	countFlag(fs, "max-num-batched-tokens", "most `tokens` in a step; longer prompts are prefilled in chunks"+byDevice(defaultMaxTokens, gpuMaxTokens), 1, &o.maxTokens)
	countFlag(fs, "long-prefill-token-threshold", "most `tokens` of prompts in a step in which others decode; 0 is no limit but --max-num-batched-tokens"+
		byDevice(defaultMaxPrefill, gpuMaxPrefill), 0, &o.maxPrefill)
	countFlag(fs, "max-logprobs", "most of the likeliest `tokens` that a request may have told at each place (default 20)", 1, &o.maxLogprobs)
	intFlag(fs, "block-size", "`tokens` in a KV block", 1, 1024, &o.blockSize)
	bytesFlag(fs, "kv-cache-memory-bytes", fmt.Sprintf("`size` of the KV cache, such as 2G (default: room for --max-num-seqs full contexts, at most 1/%d of the memory that is free beside the weights; on a GPU see --gpu-memory-utilization)", kvShare), &o.kvBytes)
	fs.BoolVar(&o.prefixCaching, "enable-prefix-caching", o.prefixCaching, "do not compute again what prompts begin with while its keys and values are in the cache (default)")
	fs.BoolFunc("no-enable-prefix-caching", "compute every prompt from its beginning", o.setColdPrompts)
	intFlag(fs, "threads", "`cores` to compute on (default 0: all)", 0, 4096, &o.threads)
	fs.Func("seed", "`number` that dummy weights, and requests without a seed, are drawn from (default: weights 0, requests random)", o.setSeed)
	fs.Func("shutdown-timeout", "`seconds` that running requests get after SIGINT or SIGTERM (default 10)", o.setShutdown)
	bytesFlag(fs, "max-request-bytes", "largest `size` of a request's body (default 8M)", &o.maxRequestBytes)
	fs.BoolVar(&o.version, "version", false, "print the version and exit")

	// flag stops at the first argument that is no flag; `vllm serve MODEL --port 1` goes on.
	var rest []string
	for {
		if err := fs.Parse(args); errors.Is(err, flag.ErrHelp) {
			printHelp(fs, out)
			return nil, err
		} else if err != nil {
			return nil, flagError(fs, err)
		}
		if fs.NArg() == 0 {
			break
		}
		rest, args = append(rest, fs.Arg(0)), fs.Args()[1:]
	}
	if o.version {
		return o, nil
	}
	return o, o.check(rest)
}

// check finds contradictions that need no model to be seen. rest are the
// arguments that are no flags: the model may be given so, as to `vllm serve`.
func (o *options) check(rest []string) error {
	if len(rest) > 0 && o.model == "" {
		o.model, rest = rest[0], rest[1:]
	}
	switch {
	case len(rest) > 0:
		return usage("unexpected argument %q: only flags, and one model where --model is not given", rest[0])
	case o.model == "":
		return usage("--model is required: a folder, a .gguf file or a hub id such as openai-community/gpt2")
	case o.maxTokens > 0 && o.maxSeqs > o.maxTokens:
		return usage("--max-num-seqs %d is more than --max-num-batched-tokens %d: every sequence of a step has a token in it", o.maxSeqs, o.maxTokens)
	case o.dtype == kernels.F16 && o.device == "cpu":
		return o.settle(kernels.F16, false)
	}
	if len(o.names) == 0 {
		o.names = []string{o.model}
	}
	return nil
}

func (o *options) addNames(v string) error {
	for name := range strings.SplitSeq(v, ",") {
		if name = strings.TrimSpace(name); name == "" {
			return errors.New("a name must not be empty")
		}
		if !slices.Contains(o.names, name) {
			o.names = append(o.names, name)
		}
	}
	return nil
}

// setDType: vLLM's auto on a CPU takes bfloat16 for checkpoints in float16 and
// float32 too; so does this, and says so (load.go). On a GPU settle has the last word.
func (o *options) setDType(v string) {
	o.dtype, o.dtypeAuto = kernels.BF16, v == "auto"
	switch v {
	case "float32":
		o.dtype = kernels.F32
	case "float16", "half":
		o.dtype = kernels.F16
	}
}

func (o *options) setGPUUtil(v string) error {
	share, err := strconv.ParseFloat(v, 64)
	if err != nil || !(share > 0 && share <= 1) {
		return errors.New("must be over 0 and at most 1")
	}
	o.gpuUtil = share
	return nil
}

// setColdPrompts is vLLM's way to turn a flag off.
func (o *options) setColdPrompts(v string) error {
	cold, err := strconv.ParseBool(v)
	o.prefixCaching = !cold
	return err
}

func (o *options) setSeed(v string) (err error) {
	if o.seed, err = strconv.ParseUint(v, 10, 64); err != nil {
		return errors.New("must be an integer from 0 to 18446744073709551615")
	}
	o.seedGiven = true
	return nil
}

func (o *options) setShutdown(v string) error {
	s, err := strconv.ParseFloat(v, 64)
	if err != nil || !(s >= 0 && s <= 86400) {
		return errors.New("must be seconds from 0 to 86400")
	}
	o.shutdownTimeout = time.Duration(s * float64(time.Second))
	return nil
}

func intFlag(fs *flag.FlagSet, name, help string, low, high int, to *int) {
	fs.Func(name, help+defaultOf(*to), func(v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < low || n > high {
			return fmt.Errorf("must be an integer from %d to %d", low, high)
		}
		*to = n
		return nil
	})
}

func countFlag(fs *flag.FlagSet, name, help string, low int, to *int) {
	intFlag(fs, name, help, low, math.MaxInt32, to)
}

func defaultOf(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" (default %d)", n)
}

func choiceFlag(fs *flag.FlagSet, name, help string, choices []string, set func(string)) {
	fs.Func(name, fmt.Sprintf("%s; `%s` (default %s)", help, strings.Join(choices, " or "), choices[0]), func(v string) error {
		if !slices.Contains(choices, v) {
			return fmt.Errorf("must be one of %s", strings.Join(choices, ", "))
		}
		set(v)
		return nil
	})
}

// bytesFlag takes a number of bytes, with K, M, G or T for powers of 1024.
func bytesFlag(fs *flag.FlagSet, name, help string, to *int64) {
	fs.Func(name, help, func(v string) error {
		digits, shift := v, 0
		if i := strings.IndexByte("KMGT", last(v)); i >= 0 {
			digits, shift = v[:len(v)-1], 10*(i+1)
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n < 1 || n > math.MaxInt64>>shift {
			return errors.New("must be bytes, as in 1073741824, 1024M or 1G")
		}
		*to = n << shift
		return nil
	})
}

func last(s string) byte {
	if s == "" {
		return 0
	}
	return s[len(s)-1]
}

// flagError adds what is allowed to a flag package's error about unknown flags.
func flagError(fs *flag.FlagSet, err error) error {
	if !strings.HasPrefix(err.Error(), "flag provided but not defined") {
		return usage("%s", strings.Replace(err.Error(), "for flag -", "for flag --", 1))
	}
	var names []string
	fs.VisitAll(func(f *flag.Flag) { names = append(names, "--"+f.Name) })
	unknown := strings.TrimLeft(err.Error()[strings.LastIndex(err.Error(), " ")+1:], "-")
	return usage("unknown flag --%s; the flags are %s", unknown, strings.Join(names, ", "))
}

func printHelp(fs *flag.FlagSet, out io.Writer) {
	fmt.Fprint(out, "serve answers OpenAI's API with one model.\n\n  serve --model FOLDER|FILE.gguf|HUB-ID [flags]\n\n")
	fs.VisitAll(func(f *flag.Flag) {
		value, help := flag.UnquoteUsage(f)
		fmt.Fprintf(out, "  --%s %s\n        %s\n", f.Name, value, help)
	})
}
