package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const table = `round,framework,model,task,mode,parallel,repeat,requests,failed,out_tok_per_s,p2ft_p50_s,notes
1,custom,gpt2,fixed-in21-out64,stream,4,0,8,0,400,0.02,
1,vllm,gpt2,fixed-in21-out64,stream,4,0,8,0,200,0.05,
2,vllm,gpt2,fixed-in21-out64,stream,4,0,8,0,100,0.04,
2,custom,gpt2,fixed-in21-out64,stream,4,0,8,0,200,0.02,
`

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.csv")
	require.NoError(t, os.WriteFile(file, []byte(table), 0o644))
	var out strings.Builder
	require.NoError(t, run(&out, []string{file}, "custom", []string{"out_tok_per_s", "p2ft_p50_s"}, false))
	assert.Contains(t, out.String(), "| gpt2 | fixed-in21-out64 | 4 | 300 | **150** | 2.00 [2.00, 2.00] | 2 |")
	assert.Contains(t, out.String(), "prompt to first token, median, ms (lower is better)")
	assert.Contains(t, out.String(), "| 20 | **45** | 0.45 [")

	out.Reset()
	require.NoError(t, run(&out, []string{file}, "custom", []string{"out_tok_per_s"}, true))
	assert.Contains(t, out.String(), "out_tok_per_s,higher,gpt2,fixed-in21-out64,stream,4,custom,300,2,vllm,2,2,2,2,,\n")

	assert.ErrorContains(t, run(&out, []string{file}, "tgi", []string{"out_tok_per_s"}, true), "of tgi and of another")
	assert.ErrorContains(t, run(&out, []string{file}, "custom", []string{"speed"}, true), `no figure "speed"`)
	assert.ErrorIs(t, run(&out, []string{file + "x"}, "custom", nil, true), os.ErrNotExist)
	require.NoError(t, os.WriteFile(file, []byte("a,b\n1,2\n"), 0o644))
	assert.ErrorContains(t, run(&out, []string{file}, "custom", nil, true), "not a table of results")
}
