package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// About is where a server tells its version: a field of a JSON object.
type About struct {
	Route string // ""; nowhere
	Field string
}

// VersionAt asks a running server what it is, such as "0.32.0". The error is
// errors.ErrUnsupported where the framework has no route for it. A nil client
// is one without keep-alive and proxy.
func (t *Target) VersionAt(ctx context.Context, client *http.Client, baseURL string) (string, error) {
	if t.About.Route == "" {
		return "", fmt.Errorf("%s does not tell its version over HTTP: %w", t.Name, errors.ErrUnsupported)
	}
	text, err := ask(ctx, client, http.MethodGet, baseURL, t.About.Route, nil)
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", t.Name, err)
	}
	version, err := parseVersion(text, t.About.Field)
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %s: %w", t.Name, t.About.Route, err)
	}
	return version, nil
}

// maxVersion bounds a version's bytes: it goes into every row of a result.
const maxVersion = 100

// parseVersion returns a field of a JSON object that is one line of text.
func parseVersion(text []byte, field string) (string, error) {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(text, &object); err != nil {
		return "", fmt.Errorf("%w in %.*q", err, shown, text)
	}
	var version string
	if err := json.Unmarshal(object[field], &version); err != nil {
		return "", fmt.Errorf("no text %q in %.*q", field, shown, text)
	}
	version = strings.TrimSpace(version)
	if version == "" || len(version) > maxVersion || strings.ContainsAny(version, "\r\n") {
		return "", fmt.Errorf("%q is no version: %.*q", field, shown, version)
	}
	return version, nil
}
