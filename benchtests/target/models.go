package target

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"
)

// modelsTimeout bounds the question; a busy server answers it at once.
const modelsTimeout = 30 * time.Second

// ServedName asks a server at base what it calls its model: one of the wanted
// names if it has it, else the only one it has.
func ServedName(ctx context.Context, base string, wanted ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, modelsTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(base, "/")+"/v1/models", nil)
	if err != nil {
		return "", err
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // and no proxy, like the requests to come
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("ask the server for its models: %w", err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return "", fmt.Errorf("ask the server for its models: %w", err)
	}
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	if err := json.Unmarshal(text, &list); err != nil || resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("ask the server for its models: %s has status %d and no list: %.200q", req.URL, resp.StatusCode, text)
	}
	var have []string
	for _, m := range list.Data {
		have = append(have, m.ID)
	}
	for _, name := range wanted {
		if slices.Contains(have, name) {
			return name, nil
		}
	}
	if len(have) == 1 {
		return have[0], nil
	}
	return "", fmt.Errorf("the server at %s serves %q, none of which is %q", base, have, wanted)
}
