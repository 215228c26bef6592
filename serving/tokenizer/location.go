package tokenizer

import (
	"encoding/json"
	"fmt"

	"servebench/serving/weights"
)

// OpenFor opens the tokenizer of a model that weights.Resolve found with those
// options, by the rule of every program here: dummy weights of a model that has
// no tokenizer at hand go with the built-in vocabulary (Dummy), all other models
// must bring theirs.
func OpenFor(at weights.Location, o weights.Options) (*Tokenizer, error) {
	if o.LoadFormat != weights.Dummy {
		return Open(at.Path())
	}
	raw, err := at.Config()
	if err != nil {
		return nil, err
	}
	var config struct {
		Vocab int `json:"vocab_size"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		return nil, fmt.Errorf("config.json: %w", err)
	}
	return OpenOrDummy(at.Path(), config.Vocab)
}
