package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
)

// TokenRoute is where a server tells the token ids of a text, with the special
// tokens that a completion's prompt gets.
type TokenRoute struct {
	Route string
	// Body returns what is posted for a text; model is the server's name of it.
	Body func(model, text string) any
	// IDs reads the answer.
	IDs func(answer []byte) ([]int, error)
}

// TokenizeText asks a running server which token ids it computes for a
// completion's prompt. The error is errors.ErrUnsupported where the framework
// has no route for it. A nil client is one without keep-alive and proxy.
func (t *Target) TokenizeText(ctx context.Context, client *http.Client, baseURL, model, text string) ([]int, error) {
	if t.Tokens == nil {
		return nil, fmt.Errorf("%s does not tell token ids: %w", t.Name, errors.ErrUnsupported)
	}
	answer, err := ask(ctx, client, http.MethodPost, baseURL, t.Tokens.Route, t.Tokens.Body(model, text))
	if err != nil {
		return nil, fmt.Errorf("ask %s for token ids: %w", t.Name, err)
	}
	ids, err := t.Tokens.IDs(answer)
	if err != nil {
		return nil, fmt.Errorf("ask %s for token ids: %s: %w", t.Name, t.Tokens.Route, err)
	}
	return ids, nil
}

// object is a JSON object that a server is sent.
type object map[string]any

// parseTokens reads {"tokens": [1, 2]}, as vLLM and llama.cpp answer.
func parseTokens(answer []byte) ([]int, error) {
	var a struct {
		Tokens *[]int `json:"tokens"`
	}
	if err := json.Unmarshal(answer, &a); err != nil {
		return nil, fmt.Errorf("%w in %.*q", err, shown, answer)
	}
	if a.Tokens == nil {
		return nil, fmt.Errorf(`no "tokens" in %.*q`, shown, answer)
	}
	return checkTokens(*a.Tokens)
}

// parseTokenObjects reads [{"id": 1}, {"id": 2}], as TGI answers.
func parseTokenObjects(answer []byte) ([]int, error) {
	var list []struct {
		ID *int `json:"id"`
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return nil, fmt.Errorf("%w in %.*q", err, shown, answer)
	}
	ids := make([]int, len(list))
	for i, e := range list {
		if e.ID == nil {
			return nil, fmt.Errorf("a token without an id in %.*q", shown, answer)
		}
		ids[i] = *e.ID
	}
	return checkTokens(ids)
}

// checkTokens returns the ids if all can be a vocabulary's.
func checkTokens(ids []int) ([]int, error) {
	for _, id := range ids {
		if id < 0 || id > math.MaxInt32 {
			return nil, fmt.Errorf("%d is no token id", id)
		}
	}
	return ids, nil
}
