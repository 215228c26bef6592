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

// tgi is Text Generation Inference, recorded at 3.3.6. Its port refuses
// connections until the shard is up.
var tgi = Target{
	Name:     "tgi",
	Variable: TGIEnv,
	Binary:   "text-generation-launcher",
	Ready:    "/health",
	Capabilities: Capabilities{
		Sync:        true,
		IgnoreEOS:   "ignored, by a copy of the model's folder whose generation_config.json has none",
		Seed:        true,
		StreamUsage: true,
		Folders:     true,
		Chat:        true,
		PrefixCache: true,
		MultiGPU:    true,
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
	Args:    tgiArgs,
	Env:     tgiEnv,
	Payload: tgiRequest,
	About:   About{Route: "/info", Field: "version"},
	// How full its KV cache is TGI does not tell.
	Gauges: Gauges{Route: "/metrics", Running: []string{"tgi_batch_current_size"}, Waiting: []string{"tgi_queue_size"}},
	Tokens: &TokenRoute{
		Route: "/tokenize",
		Body:  func(_, text string) any { return object{"inputs": text} },
		IDs:   parseTokenObjects,
	},
	// The project's own images. That both tags are there was seen where others
	// pin them; port, cache and shared memory are those of its Dockerfiles and
	// docs/source/installation_*.md.
	Image: &Image{
		GPU: "ghcr.io/huggingface/text-generation-inference:3.3.7",
		CPU: "ghcr.io/huggingface/text-generation-inference:3.3.7-intel-cpu",
		Env: func(c Config) []string {
			vars := append(tgiVars(c), "HF_HOME=/data")
			if c.local() {
				vars = append(vars, "HF_HUB_OFFLINE=1")
			}
			return vars
		},
		Port: 80, Models: "/model", Hub: "/data", TokenEnv: "HF_TOKEN",
		ShmSize: 1 << 30,
	},
}

// tgiArgs are the launcher's flags. Sockets and ports besides --port must not
// be another server's either; in a container they are its own.
func tgiArgs(c Config) []string {
	args := []string{"--model-id", c.Model, "--dtype", c.Dtype, "--hostname", c.host(), "--port", strconv.Itoa(c.Port),
		"--prometheus-port", strconv.Itoa(neighbour(c.Port))}
	if c.host() != AnyHost {
		args = append(args, "--shard-uds-path", socket(c.Dir))
	}
	prefill := max(2048, c.MaxModelLen)
	if c.MaxNumBatchedTokens > 0 {
		prefill = c.MaxNumBatchedTokens
	}
	args = append(args, "--num-shard", strconv.Itoa(max(1, c.tensorParallel())),
		"--max-input-tokens", strconv.Itoa(c.MaxModelLen-1), "--max-total-tokens", strconv.Itoa(c.MaxModelLen),
		"--max-batch-prefill-tokens", strconv.Itoa(prefill),
		"--max-batch-total-tokens", strconv.Itoa(c.MaxNumSeqs*c.MaxModelLen),
		"--max-concurrent-requests", strconv.Itoa(max(128, c.MaxNumSeqs)), "--usage-stats", "off")
	if !c.GPU {
		args = append(args, "--cuda-graphs", "0")
	} else if c.GPUMemory > 0 {
		args = append(args, "--cuda-memory-fraction", share(c.GPUMemory))
	}
	return append(args, c.Extra...)
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

// tgiVars give every model the same caching, and on a CPU the same attention:
// left alone, TGI picks both by the size of heads. On a GPU every model has the
// attention that is fastest for it.
func tgiVars(c Config) []string {
	vars := []string{"PREFILL_CHUNKING=1", "PREFIX_CACHING=0"}
	if c.PrefixCaching {
		vars[1] = "PREFIX_CACHING=1"
	}
	if !c.GPU {
		vars = append(vars, "ATTENTION=flashdecoding-ipex")
	}
	return vars
}

// tgiEnv makes the launcher find its server's Python as well.
func tgiEnv(ctx context.Context, program string, c Config) ([]string, error) {
	vars := unlessSet(append(tgiVars(c), "HF_HUB_OFFLINE=1")...)
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
