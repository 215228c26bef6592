package weights

import (
	"embed"
	"encoding/json"
	"strings"
)

//go:embed known
var knownConfigs embed.FS

// known has the models whose configuration is built in: hub id to file. The
// files hold what the models' published config.json say of their shapes.
var known = map[string]string{
	"openai-community/gpt2":               "known/gpt2.json",
	"microsoft/phi-2":                     "known/phi-2.json",
	"meta-llama/Llama-2-7b-chat-hf":       "known/llama-2-7b-chat-hf.json",
	"mistralai/Mistral-7B-Instruct-v0.1":  "known/mistral-7b-instruct-v0.1.json",
	"HuggingFaceTB/SmolLM2-135M-Instruct": "known/smollm2-135m-instruct.json",
	"TinyLlama/TinyLlama-1.1B-Chat-v1.0":  "known/tinyllama-1.1b-chat-v1.0.json",
	"Qwen/Qwen2.5-0.5B-Instruct":          "known/qwen2.5-0.5b-instruct.json",
}

// aliases are the names that the benchmark suite has for known models, in lower case.
var aliases = map[string]string{
	"gpt2":                  "openai-community/gpt2",
	"phi-2":                 "microsoft/phi-2",
	"llama-2-7b-chat":       "meta-llama/Llama-2-7b-chat-hf",
	"mistral-7b-instruct":   "mistralai/Mistral-7B-Instruct-v0.1",
	"smollm2-135m-instruct": "HuggingFaceTB/SmolLM2-135M-Instruct",
}

// Known returns the canonical hub id of a model whose configuration is built
// in ("gpt2" gives "openai-community/gpt2"), and whether there is one.
func Known(model string) (id string, ok bool) {
	if id, ok := aliases[strings.ToLower(model)]; ok {
		return id, true
	}
	for id := range known {
		if strings.EqualFold(id, model) {
			return id, true
		}
	}
	return "", false
}

// knownConfig returns the built-in config.json of a canonical id.
func knownConfig(id string) (json.RawMessage, bool) {
	file, ok := known[id]
	if !ok {
		return nil, false
	}
	b, err := knownConfigs.ReadFile(file)
	return b, err == nil
}
