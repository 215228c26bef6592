package target

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"servebench/datasets"
)

// TGIEnv names the environment variable with the path of TGI's launcher.
const TGIEnv = "SERVEBENCH_TGI"

// tgiMaxTokens is the longest answer that TGI makes in one piece; above it the
// number of tokens is not what was asked for.
const tgiMaxTokens = 1024

// tgi is Text Generation Inference as a local process on CPU. Its port refuses
// connections until the shard is up.
var tgi = Target{
	Name:     "tgi",
	Variable: TGIEnv,
	Ready:    "/health",
	Capabilities: Capabilities{
		IgnoreEOS:   "ignored, by a copy of the model's folder whose generation_config.json has none",
		Seed:        true,
		StreamUsage: true,
		Folders:     true,
		Chat:        true,
		PrefixCache: true,
		Workers:     true, // the shard and the router
		Litters:     true, // the router saves the tokenizer in ./out
		Dtypes:      []string{"bfloat16", "float16"},
	},
	Program: find(TGIEnv, "text-generation-launcher", "TGI's launcher"),
	Version: func(ctx context.Context, program string) (string, error) { return firstLine(ctx, program, "--version") },
	Prepare: func(c *Config) error {
		if info, err := os.Stat(c.Model); err != nil || !info.IsDir() {
			if c.IgnoreEOS {
				return fmt.Errorf("tgi ignores the end of sequence only in a local folder, and %s is none", c.Model)
			}
			return nil // a hub id
		}
		dir, err := filepath.Abs(filepath.Join(c.Dir, "tgi-"+c.Served))
		if err != nil {
			return err
		}
		if err := convertFolder(c.Model, dir, c.IgnoreEOS); err != nil {
			return fmt.Errorf("a copy of %s that TGI reads right: %w", c.Model, err)
		}
		c.Model = dir
		return nil
	},
	// Sockets and ports besides --port must be another server's neither.
	Args: func(c Config) []string {
		args := []string{"--model-id", c.Model, "--dtype", c.Dtype, "--hostname", c.host(), "--port", strconv.Itoa(c.Port),
			"--prometheus-port", strconv.Itoa(neighbour(c.Port)),
			"--shard-uds-path", socket(c.Dir),
			"--cuda-graphs", "0", "--num-shard", "1",
			"--max-input-tokens", strconv.Itoa(c.MaxModelLen - 1), "--max-total-tokens", strconv.Itoa(c.MaxModelLen),
			"--max-batch-prefill-tokens", strconv.Itoa(max(2048, c.MaxModelLen)),
			"--max-batch-total-tokens", strconv.Itoa(c.MaxNumSeqs * c.MaxModelLen),
			"--max-concurrent-requests", strconv.Itoa(max(128, c.MaxNumSeqs)), "--usage-stats", "off"}
		return append(args, c.Extra...)
	},
	Env:     tgiEnv,
	Payload: tgiRequest,
}

// socket returns where the shard listens: the same at every start of a run's
// server, and short enough for a socket's name, which a path in its folder may
// not be.
func socket(dir string) string {
	sum := sha256.Sum256([]byte(dir))
	return filepath.Join(os.TempDir(), fmt.Sprintf("servebench-tgi-%x", sum[:8]))
}

// neighbour returns a port that is not p.
func neighbour(p int) int {
	if p > 60000 {
		return p - 1000
	}
	return p + 1000
}

// tgiEnv makes the launcher find its server's Python, and gives every model the
// same attention and caching: left alone, TGI picks both by the size of heads.
func tgiEnv(ctx context.Context, program string, c Config) ([]string, error) {
	caching := "0"
	if c.PrefixCaching {
		caching = "1"
	}
	vars := append(unlessSet("ATTENTION=flashdecoding-ipex", "PREFILL_CHUNKING=1", "HF_HUB_OFFLINE=1"), "PREFIX_CACHING="+caching)
	python := filepath.Join(filepath.Dir(program), "py", "bin", "python3")
	if _, err := os.Stat(python); err != nil {
		return vars, nil // installed for the whole machine
	}
	const script = "import sysconfig; print(sysconfig.get_config_var('LIBDIR') + ' ' + sysconfig.get_path('purelib'))"
	line, err := firstLine(ctx, python, "-c", script)
	if err != nil {
		return nil, err
	}
	lib, site, ok := strings.Cut(line, " ")
	if !ok {
		return nil, fmt.Errorf("%s says %q where its libraries are", python, line)
	}
	path := strings.Join([]string{filepath.Dir(python), filepath.Dir(program), os.Getenv("PATH")}, string(os.PathListSeparator))
	return append(vars, "PATH="+path, "LD_LIBRARY_PATH="+lib, "PYTHONPATH="+site), nil
}

// tgiRequest leaves out a top_p of 1, which TGI refuses as it does everything
// that is not below it, and ignore_eos, which it passes over.
func tgiRequest(r Request) any {
	req := r.request()
	req.MaxTokens = min(req.MaxTokens, tgiMaxTokens)
	if req.TopP < 1 {
		return req
	}
	return struct {
		datasets.Request
		TopP *float64 `json:"top_p,omitempty"` // hides the one within
	}{Request: req}
}
