package target

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
)

// ServedName asks a running server what it calls its model: one of the wanted
// names if it has it, else the only one it has. A nil client is one without
// keep-alive and proxy.
func (t *Target) ServedName(ctx context.Context, client *http.Client, baseURL string, wanted ...string) (string, error) {
	text, err := ask(ctx, client, http.MethodGet, baseURL, "/v1/models", nil)
	if err != nil {
		return "", fmt.Errorf("ask the server for its models: %w", err)
	}
	have, err := parseModels(text)
	if err != nil {
		return "", fmt.Errorf("ask the server for its models: /v1/models: %w", err)
	}
	for _, name := range wanted {
		if slices.Contains(have, name) {
			return name, nil
		}
	}
	if t.ListsOthers {
		return "", fmt.Errorf("%s at %s lists %q, which need not be what it serves: say its name with -served-model-name", t.Name, baseURL, have)
	}
	if len(have) == 1 {
		return have[0], nil
	}
	return "", fmt.Errorf("the server at %s serves %q, none of which is %q: say one with -served-model-name", baseURL, have, wanted)
}

// parseModels returns the ids of a list of models.
func parseModels(text []byte) ([]string, error) {
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, fmt.Errorf("no list: %w in %.*q", err, shown, text)
	}
	var ids []string
	for _, m := range list.Data {
		if m.ID != "" {
			ids = append(ids, m.ID)
		}
	}
	return ids, nil
}
