package target

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"servebench/datasets"
)

// OllamaEnv names the environment variable with the path of Ollama's program.
const OllamaEnv = "SERVEBENCH_OLLAMA"

// ollama is Ollama, recorded at v0.32.15 (testdata/ollama) and read in its source.
//
// It is asked through /v1, not through its own /api/generate and /api/chat. Both
// are the same handlers, /v1 with a translation before and behind; so what is
// measured is what a client of OpenAI's API gets, as from every other framework,
// read by the same code and stamped at the same kind of event. What only the own
// routes could say of a request (raw text, context, top_k, min_p, penalties) is
// said of the model, which ollamaLoad makes.
//
// The end of sequence cannot be ignored: there is no field for it, and the
// engine finds the tokens that end a text by their names, whatever the model's
// file says. What prompts begin with is always kept.
var ollama = Target{
	Name:     "ollama",
	Variable: OllamaEnv,
	Binary:   "ollama",
	Ready:    "/api/version",
	Capabilities: Capabilities{
		Sync:         true,
		Seed:         true,
		StreamUsage:  true,
		Chat:         true,
		GGUF:         true,
		MultiGPU:     true,
		CachesAlways: true,
		Dtypes:       []string{"auto"}, // the file's; the KV cache is float16
	},
	Program: find(OllamaEnv, "ollama", "Ollama"),
	Version: func(ctx context.Context, program string) (string, error) {
		text, err := output(ctx, program, "--version")
		if err != nil {
			return "", err
		}
		return ollamaVersion(text)
	},
	Prepare: func(c *Config) error { return os.MkdirAll(c.Dir, 0o755) },
	Args:    func(c Config) []string { return append([]string{"serve"}, c.Extra...) },
	Env: func(_ context.Context, _ string, c Config) ([]string, error) {
		models, err := filepath.Abs(filepath.Join(c.Dir, "ollama"))
		return append(ollamaEnv(c), "OLLAMA_MODELS="+models), err
	},
	Served:  func(c Config) string { return ollamaName(c.Served) },
	Load:    ollamaLoad,
	Payload: ollamaRequest,
	About:   About{Route: "/api/version", Field: "version"},
	// The project's own image, for both; that the tag is there was seen where
	// others pin it, entrypoint and port are its Dockerfile's.
	Image: &Image{
		GPU: "ollama/ollama:0.32.15", CPU: "ollama/ollama:0.32.15",
		Env:  ollamaEnv,
		Port: 11434, Models: "/models", // of which nothing is read: ollamaLoad sends the file
	},
}

// ollamaEnv are the settings that Ollama takes from nowhere else. The context is
// a slot's, and one model is kept until the server ends.
func ollamaEnv(c Config) []string {
	vars := []string{
		"OLLAMA_HOST=" + c.host() + ":" + strconv.Itoa(c.Port),
		"OLLAMA_NUM_PARALLEL=" + strconv.Itoa(c.MaxNumSeqs),
		"OLLAMA_CONTEXT_LENGTH=" + strconv.Itoa(c.MaxModelLen),
		"OLLAMA_MAX_QUEUE=" + strconv.Itoa(max(512, 2*c.MaxNumSeqs)),
		"OLLAMA_MAX_LOADED_MODELS=1", "OLLAMA_KEEP_ALIVE=-1",
		"OLLAMA_NO_CLOUD=1", "OLLAMA_NOPRUNE=1",
	}
	switch n := c.tensorParallel(); {
	case n == 0:
		vars = append(vars, "CUDA_VISIBLE_DEVICES=-1")
	case n > 1:
		vars = append(vars, "OLLAMA_SCHED_SPREAD=1")
	}
	return vars
}

// ollamaVersion finds the version in what `ollama --version` prints, which
// begins with a warning where no server runs.
func ollamaVersion(text string) (string, error) {
	m := regexp.MustCompile(`version is ([0-9A-Za-z.+-]{1,64})`).FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("no version in %.*q", shown, text)
	}
	return "ollama " + m[1], nil
}

// ollamaSpace is the namespace of the models that ollamaLoad makes. A server at
// -host has others, whose names stay as they are.
const ollamaSpace = "servebench/"

// ollamaName returns what Ollama may call a model.
func ollamaName(served string) string {
	name := regexp.MustCompile(`[^0-9A-Za-z_.-]`).ReplaceAllString(served, "-")
	return ollamaSpace + strings.TrimLeft(name[:min(len(name), 64)], ".-")
}

// ollamaTag returns the model for an API: /v1/completions puts every prompt into
// the model's template, so the one for completions has a template that is the
// prompt alone. The one for chats has what Ollama makes of the file: its own
// template where it knows one that is much like the file's, else the file's. So
// SmolLM2's chats lose the system message that its template brings, 20 tokens,
// which the counts of prompts tell. Both models are the same weights.
func ollamaTag(served string, api datasets.API) string {
	switch {
	case !strings.HasPrefix(served, ollamaSpace):
		return served
	case api == datasets.ChatAPI:
		return served + ":chat"
	default:
		return served + ":text"
	}
}

// ollamaRequest is a request of OpenAI's API.
func ollamaRequest(r Request) any {
	req := r.request()
	req.Model = ollamaTag(r.Served, r.API)
	return req
}

// ollamaLoad gives the server a .gguf file and makes the models of it. Their
// parameters turn off what a request through /v1 cannot: top_k 40 and
// whatever the file brings.
func ollamaLoad(ctx context.Context, client *http.Client, baseURL string, c Config) error {
	digest, err := hashFile(c.Model)
	if err != nil {
		return fmt.Errorf("ollama is given a .gguf file: %w", err)
	}
	if err := ollamaUpload(ctx, client, baseURL, c.Model, digest); err != nil {
		return fmt.Errorf("give %s to ollama: %w", c.Model, err)
	}
	parameters := object{"num_ctx": c.MaxModelLen, "top_k": 0, "min_p": 0, "repeat_penalty": 1}
	if c.MaxNumBatchedTokens > 0 {
		parameters["num_batch"] = c.MaxNumBatchedTokens
	}
	if !c.GPU {
		parameters["num_gpu"] = 0
	}
	for _, api := range datasets.APIs() {
		model := object{"model": ollamaTag(ollamaName(c.Served), api), "files": object{"model.gguf": digest},
			"parameters": parameters, "stream": false}
		if api != datasets.ChatAPI {
			model["template"] = "{{ .Prompt }}"
		}
		if err := ollamaCreate(ctx, client, baseURL, model); err != nil {
			return fmt.Errorf("make ollama's model %s: %w", model["model"], err)
		}
	}
	return nil
}

// hashFile returns a file's digest as Ollama names it.
func hashFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// ollamaUpload sends a file, unless the server has it.
func ollamaUpload(ctx context.Context, client *http.Client, baseURL, path, digest string) error {
	route := "/api/blobs/" + digest
	if _, err := send(ctx, client, http.MethodHead, baseURL, route, nil); err == nil {
		return nil
	} else if !errors.As(err, new(*statusError)) {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = send(ctx, client, http.MethodPost, baseURL, route, f)
	return err
}

// ollamaCreate makes a model. A failure on the way may come with 200.
func ollamaCreate(ctx context.Context, client *http.Client, baseURL string, model object) error {
	body, err := json.Marshal(model)
	if err != nil {
		return err
	}
	answer, err := send(ctx, client, http.MethodPost, baseURL, "/api/create", strings.NewReader(string(body)))
	if err != nil {
		return err
	}
	var progress struct{ Status, Error string }
	if err := json.Unmarshal(answer, &progress); err != nil {
		return fmt.Errorf("%w in %.*q", err, shown, answer)
	}
	if progress.Status != "success" {
		return fmt.Errorf("it says %.*q", shown, answer)
	}
	return nil
}
