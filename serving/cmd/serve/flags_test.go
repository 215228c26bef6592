package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/kernels"
	"servebench/kernels/ref"
	"servebench/serving/api"
	"servebench/serving/models"
	"servebench/serving/weights"
)

func TestParseFlags(t *testing.T) {
	o, err := parseFlags(strings.Fields("--model m --host ::1 --port 0 --device cpu --dtype float32 --load-format dummy "+
		"--no-enable-prefix-caching --max-model-len 64 --max-num-seqs 3 --max-num-batched-tokens 32 --long-prefill-token-threshold 0 --max-logprobs 5 --block-size 8 --kv-cache-memory-bytes 2M "+
		"--threads 2 --seed 18446744073709551615 --shutdown-timeout 0.5 --max-request-bytes 100 "+
		"--served-model-name a,b --served-model-name a --served-model-name c/d --generation-config vllm"), io.Discard)
	require.NoError(t, err)
	assert.Equal(t, &options{model: "m", names: []string{"a", "b", "c/d"}, host: "::1", port: 0, device: "cpu",
		dtype: kernels.F32, loadFormat: weights.Dummy, genConfig: "vllm", maxModelLen: 64, maxSeqs: 3, maxTokens: 32, maxLogprobs: 5,
		gpuUtil: 0.9, blockSize: 8, kvBytes: 2 << 20, threads: 2, seed: math.MaxUint64, seedGiven: true,
		shutdownTimeout: 500 * time.Millisecond, maxRequestBytes: 100}, o)

	o, err = parseFlags([]string{"m", "--port", "1"}, io.Discard) // as `vllm serve MODEL`
	require.NoError(t, err)
	assert.Equal(t, "m", o.model)
	assert.Equal(t, 1, o.port)
	o, err = parseFlags([]string{"org/name"}, io.Discard)
	require.NoError(t, err)
	assert.Equal(t, "org/name", o.model)
	assert.Equal(t, []string{"org/name"}, o.names)
	assert.Equal(t, "127.0.0.1", o.host)
	assert.Equal(t, 8000, o.port)
	assert.Equal(t, kernels.BF16, o.dtype)
	assert.True(t, o.dtypeAuto)
	assert.Equal(t, "auto", o.device)
	cpu, err := o.sizes(tiny, false)
	require.NoError(t, err)
	gpu, err := o.sizes(tiny, true)
	require.NoError(t, err)
	assert.Equal(t, models.Limits{MaxModelLen: 100, MaxTokens: defaultMaxTokens, MaxSeqs: defaultMaxSeqs, BlockSize: 16}, cpu)
	assert.Equal(t, models.Limits{MaxModelLen: 100, MaxTokens: gpuMaxTokens, MaxSeqs: gpuMaxSeqs, BlockSize: 16}, gpu)
	assert.Equal(t, []int{defaultMaxPrefill, gpuMaxPrefill}, []int{o.prefill(false), o.prefill(true)})
	o, err = parseFlags(strings.Fields("m --device cuda --cuda-library /lib/x.so --gpu-memory-utilization 0.5 --enforce-eager --dtype half --max-num-batched-tokens 32"), io.Discard)
	require.NoError(t, err)
	assert.Equal(t, "cuda", o.device)
	assert.Equal(t, "/lib/x.so", o.cudaLibrary)
	assert.Equal(t, 0.5, o.gpuUtil)
	assert.True(t, o.enforceEager)
	assert.Equal(t, kernels.F16, o.dtype)
	gpu, err = o.sizes(tiny, true)
	require.NoError(t, err)
	assert.Equal(t, 32, gpu.MaxSeqs, "no more than there are tokens")
	o, err = parseFlags([]string{"m", "--max-num-seqs", "5000"}, io.Discard)
	require.NoError(t, err)
	cpu, err = o.sizes(tiny, false)
	require.NoError(t, err)
	assert.Equal(t, 5000, cpu.MaxTokens, "no fewer than there are sequences")
	o, err = parseFlags([]string{"m"}, io.Discard)
	require.NoError(t, err)
	assert.True(t, o.prefixCaching, "as in vLLM")
	o, err = parseFlags([]string{"m", "--no-enable-prefix-caching", "--enable-prefix-caching"}, io.Discard) // the last counts
	require.NoError(t, err)
	assert.True(t, o.prefixCaching)
	assert.Equal(t, int64(api.DefaultMaxBody), o.maxRequestBytes)

	var help bytes.Buffer
	_, err = parseFlags([]string{"--help"}, &help)
	require.ErrorIs(t, err, flag.ErrHelp)
	for _, name := range []string{"--model", "--max-num-batched-tokens", "--seed", "float32"} {
		assert.Contains(t, help.String(), name)
	}
}

// TestBadFlags: the error names the flag and what is allowed, and nothing is loaded.
func TestBadFlags(t *testing.T) {
	for args, says := range map[string][]string{
		"":                                                      {"--model is required", "folder"},
		"--model m --nope 3":                                    {"unknown flag --nope", "--max-model-len", "--port"},
		"--model m --port 65536":                                {"-port", "65536", "0 to 65535"},
		"--model m --port -1":                                   {"-port", "0 to 65535"},
		"--model m --port http":                                 {"-port", "http", "0 to 65535"},
		"--model m --dtype int8":                                {"-dtype", "int8", "auto, bfloat16, float16, half, float32"},
		"--model m --dtype float16 --device cpu":                {"--dtype float16 takes a GPU", "--device cuda"},
		"--model m --device tpu":                                {"-device", "tpu", "auto, cpu, cuda"},
		"--model m --gpu-memory-utilization 0":                  {"-gpu-memory-utilization", "over 0"},
		"--model m --gpu-memory-utilization 1.1":                {"-gpu-memory-utilization", "at most 1"},
		"--model m --gpu-memory-utilization nan":                {"-gpu-memory-utilization", "at most 1"},
		"--model m --load-format gguf":                          {"-load-format", "auto, dummy"},
		"--model m --max-model-len 1":                           {"-max-model-len", "2 to"},
		"--model m --max-model-len x":                           {"-max-model-len", "integer"},
		"--model m --max-num-seqs 0":                            {"-max-num-seqs", "1 to"},
		"--model m --seed -1":                                   {"-seed", "0 to"},
		"--model m --shutdown-timeout nan":                      {"-shutdown-timeout", "seconds"},
		"--model m --shutdown-timeout -1":                       {"-shutdown-timeout", "seconds"},
		"--model m --kv-cache-memory-bytes":                     {"-kv-cache-memory-bytes"},
		"--model m --kv-cache-memory-bytes 9999999999999T":      {"-kv-cache-memory-bytes", "1G"},
		"--model m --kv-cache-memory-bytes 0":                   {"-kv-cache-memory-bytes", "1G"},
		"--model m --kv-cache-memory-bytes G":                   {"-kv-cache-memory-bytes", "1G"},
		"--model m --served-model-name a,":                      {"-served-model-name", "empty"},
		"--model m extra":                                       {`"extra"`, "--model"},
		"m extra":                                               {`"extra"`},
		"--model m --max-num-batched-tokens 0":                  {"-max-num-batched-tokens", "1 to"},
		"--model m --max-num-seqs 9 --max-num-batched-tokens 8": {"--max-num-seqs 9", "--max-num-batched-tokens 8"},
	} {
		var stdout, stderr bytes.Buffer
		status := run(strings.Fields(args), &stdout, &stderr, nil)
		assert.Equalf(t, exitUsage, status, "for %q", args)
		for _, s := range says {
			assert.Containsf(t, stderr.String(), s, "for %q", args)
		}
		assert.NotContainsf(t, stderr.String(), "listening", "for %q", args)
		assert.Emptyf(t, stdout.String(), "for %q", args)
	}
}

func TestVersion(t *testing.T) {
	var stdout, stderr bytes.Buffer
	assert.Equal(t, exitOK, run([]string{"--version"}, &stdout, &stderr, nil))
	lines := strings.Split(strings.TrimSpace(stdout.String()), "\n")
	require.GreaterOrEqual(t, len(lines), 3, "%q", lines)
	assert.True(t, strings.HasPrefix(lines[0], "servebench "))
	assert.True(t, strings.HasPrefix(lines[1], "cpu: "))
	assert.True(t, strings.HasPrefix(lines[2], "cuda"))
	assert.Empty(t, stderr.String())
}

// tiny is GPT-2's shape, small: a token takes 2·2·2·4·2 = 64 bytes in bfloat16.
var tiny = models.Spec{Architecture: "gpt2", Vocab: 500, MaxPositions: 100, Layers: 2, Width: 8, FFN: 32,
	Attn: kernels.Attn{Heads: 2, KVHeads: 2, HeadDim: 4}}

func TestKVBlocks(t *testing.T) {
	window := 0
	check := func(o options, context int, free int64, want int, says ...string) {
		t.Helper()
		o.dtype = kernels.BF16
		spec, l := tiny, models.Limits{MaxModelLen: context, MaxTokens: o.maxTokens, MaxSeqs: o.maxSeqs, BlockSize: cmp.Or(o.blockSize, 16)}
		spec.Attn.Window = window
		got, err := o.kvBlocks(host(0), spec, l, free, free)
		if len(says) == 0 {
			require.NoError(t, err)
			assert.Equal(t, want, got)
			return
		}
		require.ErrorAs(t, err, &usageError{})
		for _, s := range says {
			assert.ErrorContains(t, err, s)
		}
	}
	const block = 64 * 16
	check(options{maxSeqs: 4}, 100, 1<<40, 4*7)                                     // every sequence in full
	check(options{maxSeqs: 4}, 100, kvShare*10*block, 10)                           // its share of the memory
	check(options{maxSeqs: 4}, 100, kvShare*6*block, 0, "96 tokens", "100", "7168") // not one sequence
	check(options{maxSeqs: 4, kvBytes: 9*block + 1}, 100, 10*block, 9)              // as asked
	check(options{maxSeqs: 4, kvBytes: 9*block + 1}, 100, 9*block, 0, "9217", "9216", "free")
	// A smaller block takes as much memory as one of 16, one of 17 as one of 32.
	check(options{maxSeqs: 1, blockSize: 1}, 100, kvShare*100*block, 100)
	check(options{maxSeqs: 1, blockSize: 1}, 100, kvShare*99*block, 0, "99 tokens")
	check(options{maxSeqs: 4, blockSize: 17}, 100, kvShare*2*10*block, 10)
	check(options{maxSeqs: 4, kvBytes: 6 * block}, 100, 1<<40, 0, "96 tokens", "7168", "--max-model-len")
	check(options{maxSeqs: math.MaxInt32}, 100, math.MaxInt64, math.MaxInt32/16) // slots are 32-bit
	// With a window a sequence holds that and a chunk: 32 + 16 − 1 positions touch 4 blocks.
	window = 32
	check(options{maxSeqs: 4, maxTokens: 16}, 1000, 1<<40, 4*4)
	check(options{maxSeqs: 4, maxTokens: 16}, 1000, kvShare*4*block, 4)
	check(options{maxSeqs: 4, maxTokens: 16}, 1000, kvShare*3*block, 0, "48 tokens", "1000", "64 tokens", "window", "4096")
	check(options{maxSeqs: 4, maxTokens: 16, kvBytes: 4 * block}, 1000, 1<<40, 4)
	check(options{maxSeqs: 4, maxTokens: 16, kvBytes: 3 * block}, 1000, 1<<40, 0, "48 tokens", "64 tokens", "4096")
	check(options{maxSeqs: 4, maxTokens: 16}, 40, 1<<40, 4*3) // a context within the window
}

// dummy opens the checkpoint of a folder that holds but this config.json.
func dummy(t *testing.T, config string) (weights.Checkpoint, models.Spec) {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600))
	ck, err := weights.Open(t.Context(), dir, weights.Options{LoadFormat: weights.Dummy})
	require.NoError(t, err)
	spec, err := models.Describe(ck)
	require.NoError(t, err)
	return ck, spec
}

func TestLimits(t *testing.T) {
	o := options{model: "m", dtype: kernels.BF16, maxSeqs: 4, maxTokens: 8, blockSize: 16}
	ck, spec := dummy(t, `{"model_type":"gpt2","vocab_size":500,"n_positions":100,"n_embd":8,"n_layer":2,"n_head":2}`)
	o.device = "cpu"
	c := &console{w: io.Discard}
	_, l, _, err := o.limits(ck, spec, c)
	require.NoError(t, err)
	assert.Equal(t, models.Limits{MaxModelLen: 100, MaxTokens: 8, MaxSeqs: 4, Blocks: 28, BlockSize: 16}, l)

	o.maxModelLen = 101
	_, _, _, err = o.limits(ck, spec, c)
	require.ErrorAs(t, err, &usageError{})
	assert.ErrorContains(t, err, "--max-model-len 101")
	assert.ErrorContains(t, err, "100")

	o.maxModelLen, o.maxTokens, o.maxSeqs = 0, math.MaxInt32, math.MaxInt32
	_, _, _, err = o.limits(ck, spec, c)
	require.ErrorAs(t, err, &usageError{})
	assert.ErrorContains(t, err, "--max-num-batched-tokens")
}

// TestMeasure compares what was counted with what the models' published sizes
// come to, and with what a device takes.
func TestMeasure(t *testing.T) {
	var on layout
	measured := func(id string, dtype kernels.DType) need {
		ck, err := weights.Open(t.Context(), id, weights.Options{LoadFormat: weights.Dummy})
		require.NoError(t, err)
		n, err := measure(ck, dtype, models.Limits{MaxModelLen: 2048, MaxTokens: 512, MaxSeqs: 64, BlockSize: 16}, on)
		require.NoError(t, err)
		return n
	}
	for id, parameters := range map[string]int64{"phi-2": 2_779_683_840, "llama-2-7b-chat": 6_738_415_616, "mistral-7b-instruct": 7_241_732_096} {
		for _, on = range []layout{hostLayout{}, gpuLayout{}} {
			n := measured(id, kernels.BF16)
			// Norms and biases are float32, the rotation's table is no parameter, and
			// a matrix ends with a whole huge page.
			assert.InEpsilon(t, 2*parameters, n.weights, 0.015, id)
			assert.InEpsilon(t, 4*parameters, measured(id, kernels.F32).weights, 0.015, id)
			assert.Less(t, n.loading, int64(1)<<30, id)
			assert.Equal(t, kernels.BF16, n.stored)
			// x, norm and delta; q, k, v and the heads' output; the feed-forward block.
			assert.Greater(t, n.activations, int64(512*4*6*2560))
			if on == (hostLayout{}) {
				assert.Less(t, n.activations, int64(256<<20))
			} else { // with what decoding keeps of 64 contexts in 64 pieces
				assert.Less(t, n.activations, int64(512<<20))
			}
		}
	}
}

// TestFit: what does not fit is refused with the figures and what to do, and
// what fits leaves its share to the KV cache.
func TestFit(t *testing.T) {
	const gib = int64(1) << 30
	llama := models.Spec{Layers: 32, Attn: kernels.Attn{Heads: 32, KVHeads: 32, HeadDim: 128}}
	l := models.Limits{MaxModelLen: 4096, MaxTokens: 512, MaxSeqs: 64, BlockSize: 16}
	n := need{weights: 25 * gib, activations: gib / 4, loading: gib}
	o := &options{model: "llama-2-7b-chat", dtype: kernels.F32, maxSeqs: 64, blockSize: 16}
	_, err := o.fit(llama, l, n, host(22*gib))
	require.ErrorAs(t, err, &usageError{})
	for _, s := range []string{"llama-2-7b-chat does not fit", "25.0 GiB in float32", "up to 1.0 GiB", "256.0 MiB", "1.0 MiB a token",
		"22.0 GiB of memory are free", "--dtype bfloat16", "--max-num-batched-tokens (512)", "--max-num-seqs (64)", "--max-model-len (4096)"} {
		assert.ErrorContains(t, err, s)
	}
	n.weights, o.dtype = 25*gib/2, kernels.BF16
	got, err := o.fit(llama, l, n, host(22*gib))
	require.NoError(t, err)
	token := int64(2 * 32 * 32 * 128 * 2)
	assert.Equal(t, int((22*gib-n.weights-n.activations)/kvShare/(16*token)), got.Blocks)
	_, err = o.fit(llama, l, n, host(14*gib))
	require.ErrorAs(t, err, &usageError{})
	assert.ErrorContains(t, err, "--max-model-len is 4096")
	assert.NotContains(t, err.Error(), "--dtype bfloat16")
	o.kvBytes = 10 * gib
	_, err = o.fit(llama, l, n, host(22*gib))
	assert.ErrorContains(t, err, "--kv-cache-memory-bytes")

	// A GPU of 80 GiB of which 2 are in use: the cache takes all that 0.9 leaves.
	gpu := onGPU(ref.New(kernels.BF16), 80*gib, 78*gib, 0.9)
	o.kvBytes, o.gpuUtil = 0, 0.9
	free := 72*gib - 2*gib - n.weights - n.activations
	got, err = o.fit(llama, l, n, gpu)
	require.NoError(t, err)
	assert.InDelta(t, free/(16*token), got.Blocks, 1) // 0.9 is not exact
	o.kvBytes = 60 * gib                              // beyond what 0.9 leaves, and there
	got, err = o.fit(llama, l, n, gpu)
	require.NoError(t, err)
	assert.Equal(t, int(60*gib/(16*token)), got.Blocks)
	o.kvBytes = 66 * gib
	_, err = o.fit(llama, l, n, gpu)
	assert.ErrorContains(t, err, "bytes of GPU memory that are free")
	o.kvBytes = 0
	for used, says := range map[int64][]string{
		60 * gib: {"does not fit into GPU memory", "12.5 GiB in bfloat16", "12.0 GiB of GPU memory", "--gpu-memory-utilization 0.9", "--device cpu"},
		58 * gib: {"--gpu-memory-utilization 0.9", "--max-model-len is 4096", "1.2 GiB of GPU memory", "a smaller --max-model-len"},
	} {
		_, err = o.fit(llama, l, n, onGPU(gpu.dev, 80*gib, 80*gib-used, 0.9))
		require.ErrorAs(t, err, &usageError{})
		for _, s := range says {
			assert.ErrorContains(t, err, s)
		}
	}
	// A small model's cache is bounded by what it costs the host.
	small := models.Spec{Layers: 1, Attn: kernels.Attn{Heads: 1, KVHeads: 1, HeadDim: 1}}
	got, err = o.fit(small, l, need{}, gpu)
	require.NoError(t, err)
	assert.Equal(t, mostBlocks, got.Blocks)
}

// TestSettle: what auto is, on a GPU and on the CPU, and what the CPU has not.
func TestSettle(t *testing.T) {
	for _, c := range []struct {
		asked  string
		stored kernels.DType
		cpu    kernels.DType
		gpu    kernels.DType
	}{
		{"auto", kernels.F32, kernels.BF16, kernels.BF16}, {"auto", kernels.BF16, kernels.BF16, kernels.BF16}, {"auto", kernels.F16, kernels.BF16, kernels.F16},
		{"bfloat16", kernels.F16, kernels.BF16, kernels.BF16}, {"float32", kernels.F16, kernels.F32, kernels.F32},
	} {
		for gpu, want := range map[bool]kernels.DType{false: c.cpu, true: c.gpu} {
			o, err := parseFlags([]string{"m", "--dtype", c.asked}, io.Discard)
			require.NoError(t, err)
			require.NoError(t, o.settle(c.stored, gpu))
			assert.Equal(t, want, o.dtype, "%s of %s, GPU %v", c.asked, c.stored, gpu)
		}
	}
	o, err := parseFlags([]string{"m", "--dtype", "half"}, io.Discard)
	require.NoError(t, err)
	require.NoError(t, o.settle(kernels.F32, true))
	assert.Equal(t, kernels.F16, o.dtype)
	require.ErrorAs(t, o.settle(kernels.F32, false), &usageError{})
}

func TestCgroupMemory(t *testing.T) {
	root := t.TempDir()
	self := filepath.Join(root, "self")
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	}
	check := func(want int64, limited bool) {
		t.Helper()
		got, ok := cgroupMemory(root, self)
		assert.Equal(t, limited, ok)
		assert.Equal(t, want, got)
	}
	check(0, false) // no list of groups
	write("self", "0::/a/b\n")
	check(0, false) // no group
	write("a/b/memory.max", "max\n")
	write("a/b/memory.current", "100\n")
	check(0, false) // no limit
	write("a/b/memory.max", "4096\n")
	check(3996, true)
	write("a/memory.max", "2000\n") // the group above has less left
	write("a/memory.current", "1500\n")
	check(500, true)
	write("a/memory.stat", "anon 1000\ninactive_file 300\nactive_file 200\n")
	check(800, true)
	write("a/memory.current", "5000\n") // more than the limit
	check(0, true)
	// Version 1, in a container that sees its own group as the root.
	write("self", "9:cpu,cpuacct:/x\n4:memory:/docker/f00\n0::/\nnonsense\n")
	write("memory/memory.limit_in_bytes", "1000\n")
	write("memory/memory.usage_in_bytes", "900\n")
	write("memory/memory.stat", "inactive_file 1\ntotal_inactive_file 50\n")
	check(150, true)
	write("memory/memory.limit_in_bytes", "9223372036854771712\n")
	write("self", "4:memory:/../../..\n") // stays below the mount
	check(9223372036854771712-850, true)

	free, err := freeMemory()
	require.NoError(t, err)
	assert.Positive(t, free)
}

func TestDefaults(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	c := &console{w: &out}
	o := options{genConfig: "auto"}
	file := filepath.Join(dir, "generation_config.json")
	check := func(text string, want api.Defaults, says string) {
		t.Helper()
		out.Reset()
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
		got, err := o.defaults(weights.Location{Dir: dir}, c)
		require.NoError(t, err)
		assert.Equal(t, want, got)
		assert.Contains(t, out.String(), says)
	}
	plain := api.Defaults{Temperature: 1, TopP: 1}
	got, err := o.defaults(weights.Location{Dir: dir}, c)
	require.NoError(t, err)
	assert.Equal(t, plain, got, "without a file")
	check(`{"bos_token_id": 1}`, plain, "")
	check(`{"temperature":0.6,"top_p":0.9,"top_k":50}`, api.Defaults{Temperature: 0.6, TopP: 0.9, TopK: 50}, "top_k 50")
	check(`{"repetition_penalty":1.1,"temperature":null,"min_p":0.05}`,
		api.Defaults{Temperature: 1, TopP: 1, MinP: 0.05, RepetitionPenalty: 1.1}, "repetition_penalty 1.1")
	check(`{"max_new_tokens":9}`, plain, "NOT max_new_tokens")
	for _, bad := range []string{`{"temperature":-1}`, `{"min_p":2}`, `{"repetition_penalty":0}`, `{"top_p":0}`, `{"top_p":"x"}`, `{`} {
		require.NoError(t, os.WriteFile(file, []byte(bad), 0o600))
		_, err := o.defaults(weights.Location{Dir: dir}, c)
		require.ErrorContains(t, err, "generation_config.json", "for %s", bad)
	}
	o.genConfig = "vllm"
	got, err = o.defaults(weights.Location{Dir: dir}, c)
	require.NoError(t, err)
	assert.Equal(t, plain, got, "unread")
}

func TestSeeds(t *testing.T) {
	assert.Nil(t, (&options{}).seeds(), "random")
	a, b := (&options{seed: 7, seedGiven: true}).seeds(), (&options{seed: 7, seedGiven: true}).seeds()
	seen := map[uint64]bool{}
	for range 1000 {
		v := a()
		require.Equal(t, v, b())
		seen[v] = true
	}
	assert.Len(t, seen, 1000)
}

func TestUsageError(t *testing.T) {
	var out bytes.Buffer
	c := &console{w: &out}
	assert.Equal(t, exitUsage, c.fail(usage("x")))
	assert.Equal(t, exitFault, c.fail(errors.New("y")))
	assert.Contains(t, out.String(), "serve: error: y")
}
