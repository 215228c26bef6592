package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
)

// Step is a request that a server is sent to change its state.
type Step struct {
	Method, Route string
	// Body returns what is sent as JSON, for the server's name of the model; nil
	// for nothing.
	Body func(model string) any
	// Each is the route of a list whose elements' "id" Route has a %v for: one
	// request each. "": one request.
	Each string
}

// Reset empties the prefix cache of a running server, so that the next prompts
// are computed from their beginning. model is the server's name of it. The
// error is errors.ErrUnsupported where the framework cannot, or was started so
// that it cannot. A nil client is one without keep-alive and proxy.
func (t *Target) Reset(ctx context.Context, client *http.Client, baseURL, model string) error {
	if t.Resets == nil {
		return fmt.Errorf("%s has no route that empties its prefix cache: %w", t.Name, errors.ErrUnsupported)
	}
	for _, step := range t.Resets {
		if err := step.send(ctx, client, baseURL, model); err != nil {
			return fmt.Errorf("empty the prefix cache of %s: %w", t.Name, err)
		}
	}
	return nil
}

// send sends the step's requests.
func (s Step) send(ctx context.Context, client *http.Client, baseURL, model string) error {
	var body any
	if s.Body != nil {
		body = s.Body(model)
	}
	routes := []string{s.Route}
	if s.Each != "" {
		list, err := ask(ctx, client, http.MethodGet, baseURL, s.Each, nil)
		if err != nil {
			return unsupported(err)
		}
		ids, err := parseIDs(list)
		if err != nil {
			return fmt.Errorf("%s: %w", s.Each, err)
		}
		routes = nil
		for _, id := range ids {
			routes = append(routes, fmt.Sprintf(s.Route, id))
		}
	}
	for _, route := range routes {
		answer, err := ask(ctx, client, s.Method, baseURL, route, body)
		if err != nil {
			return unsupported(err)
		}
		if failed(answer) {
			return fmt.Errorf("%s says %.*q: it is not emptied while requests run", route, shown, answer)
		}
	}
	return nil
}

// failed says whether an answer with a good status tells a failure all the same,
// {"success": false}, as vLLM's does while blocks are held.
func failed(answer []byte) bool {
	var a struct {
		Success *bool `json:"success"`
	}
	return json.Unmarshal(answer, &a) == nil && a.Success != nil && !*a.Success
}

// maxIDs bounds how many requests a foreign list brings about.
const maxIDs = 4096

// parseIDs returns the ids of a list of objects.
func parseIDs(list []byte) ([]int, error) {
	var elements []struct {
		ID *int `json:"id"`
	}
	if err := json.Unmarshal(list, &elements); err != nil {
		return nil, fmt.Errorf("%w in %.*q", err, shown, list)
	}
	if len(elements) == 0 || len(elements) > maxIDs {
		return nil, fmt.Errorf("a list of %d, not of 1 to %d", len(elements), maxIDs)
	}
	var ids []int
	for _, e := range elements {
		if e.ID == nil || *e.ID < 0 {
			return nil, fmt.Errorf("an element without an id in %.*q", shown, list)
		}
		ids = append(ids, *e.ID)
	}
	return ids, nil
}
