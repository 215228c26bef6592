package benchtests

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/datasets"
	"servebench/results"
)

func TestOptions(t *testing.T) {
	o, err := parse()
	require.NoError(t, err)
	assert.Equal(t, datasets.Tasks(), o.tasks)
	assert.Equal(t, datasets.Modes(), o.modes)
	parallels := map[string][]int{deviceCPU: {1, 4}, deviceCUDA: {1, 2, 4}}[defaultDevice]
	assert.Equal(t, parallels, o.parallels)
	assert.Empty(t, o.models, "decided later")
	assert.True(t, filepath.IsAbs(o.results))
	cases := o.cases("custom", "gpt2")
	assert.Len(t, cases, 4*2*len(parallels))
	last := cases[len(cases)-1]
	assert.Equal(t, "framework=custom/model=gpt2/task=code/mode=stream/parallel=4", last.String())

	o, err = parse("-task", "qa, code", "-mode", "stream", "-parallel", "2", "-csv", "out.csv")
	require.NoError(t, err)
	assert.Equal(t, []datasets.Task{datasets.QA, datasets.Code}, o.tasks)
	assert.Equal(t, []int{2}, o.parallels)
	assert.Equal(t, filepath.Join(o.root, "out.csv"), o.csv, "a path begins where the user is, not in the package")

	assert.Equal(t, 16, o.maxNumSeqs)
	assert.Equal(t, results.SLO{}, o.goodput)
	o, err = parse("-task", "fixed,fixed-in405-out64", "-input-len", "21", "-prefix-len", "400", "-output-len", "64", "-concurrency", "1,32")
	require.NoError(t, err)
	assert.Equal(t, []datasets.Task{"fixed-prefix400-in21-out64", "fixed-in405-out64"}, o.tasks)
	assert.Equal(t, 32, o.maxNumSeqs)

	o, err = parse("-slo", "tpot=50ms,latency=5s")
	require.NoError(t, err)
	assert.Equal(t, results.SLO{TPOT: 50 * time.Millisecond, Latency: 5 * time.Second}, o.goodput)

	check := func(want []int, args ...string) {
		t.Helper()
		o, err := parse(args...)
		require.NoError(t, err)
		assert.Equal(t, want, o.parallels, args)
	}
	check([]int{3}, "-test.parallel", "3")
	check([]int{1, 2}, "-test.parallel", "3", "-parallel", "1,2")
	check([]int{1, 8}, "-test.parallel", "3", "-concurrency", "1,8")
}

func TestOptionsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o644))
	check := func(want string, args ...string) {
		t.Helper()
		_, err := parse(args...)
		assert.ErrorContains(t, err, want, args)
	}
	check(`-framework: unknown framework "vlm": choose from custom`, "-framework", "custom,vlm")
	check(`-model: unknown model "gpt3": choose from gpt2, phi-2, llama-2-7b-chat, mistral-7b-instruct, smollm2-135m-instruct`, "-model", "gpt3")
	check("no such file", "-model", "gpt2=/nowhere")
	check("-gpu-memory-utilization: 1.5: it must be above 0 and at most 1", "-gpu-memory-utilization", "1.5")
	check("-tensor-parallel-size: 0: it must be 1 or more", "-tensor-parallel-size", "0")
	check(`-task: unknown task "math": choose from chat, summarization, qa, code`, "-task", "qa,math")
	check(`unknown task ""`, "-task", "qa,")
	check(`-mode: unknown mode "batch": choose from sync, stream`, "-mode", "batch")
	check(`-parallel: "0" is not a number from 1 to`, "-parallel", "1,0")
	check(`"x" is not a number`, "-concurrency", "x")
	check(`-task: "qa" is in the list twice`, "-task", "qa,qa")
	check("-repeat: -1", "-repeat", "-1")
	check("-repeat: 0", "-repeat", "0")
	check("-num-prompts: 0", "-num-prompts", "0")
	check("-task: the list is empty", "-task", "")
	check(`"code"`, "-task", "qa,", "code")
	check(`-load-format: unknown value "gguf": choose from auto, dummy`, "-load-format", "gguf")
	check(`-dtype: unknown value "int8": custom takes bfloat16, float16, float32`, "-dtype", "int8")
	check("-host: ", "-host", "localhost:8000", "-model", "gpt2")
	check("-host: say which model", "-host", "http://localhost:8000")
	check("-serve-args and -serve-bin mean nothing", "-host", "http://localhost:8000", "-model", "gpt2", "-serve-args", "-x")
	check("-prompts: neither authored, hub nor a folder", "-prompts", "/nowhere")
	check("is a file", "-prompts", file)
	check("-task: prompts of 1 tokens", "-task", "fixed", "-input-len", "1")
	check(`-task: unknown task "fixed-in1-out1"`, "-task", "fixed-in1-out1")
	check("-task: fixed-in1000-out64 has 1064 tokens, more than -max-model-len 1024", "-task", "fixed-in1000-out64")
	check("-task: answers of fixed tasks run on", "-task", "chat,fixed")
	check("-slo: p2ft=5: time: missing unit", "-slo", "p2ft=5")
	check("-max-num-seqs: 0", "-max-num-seqs", "0")
	check("-cpu: one value at most", "-test.cpu", "1,2")

	_, err := parse("-task", "math", "-mode", "batch")
	assert.ErrorContains(t, err, "-task")
	assert.ErrorContains(t, err, "-mode", "all faults are told at once")
}

func TestPatternsThatMissEveryCase(t *testing.T) {
	for _, p := range []string{"task=qa", "model=gpt2/task=qa", ".*/parallel=1"} {
		require.ErrorContains(t, looksForCases(p), "BenchmarkServe/framework=", "for %s", p)
	}
	for _, p := range []string{"", "MatMul", "Parse/large"} { // of other packages in the same command
		require.NoError(t, looksForCases(p), "for %s", p)
	}
}
