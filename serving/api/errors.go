package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"servebench/serving/engine"
	"servebench/serving/sample"
)

// The error types of answers, as vLLM names them; each goes with one status.
const (
	typeBadRequest  = "BadRequestError"         // 400
	typeNotFound    = "NotFoundError"           // 404
	typeMethod      = "MethodNotAllowedError"   // 405
	typeTooLarge    = "RequestTooLargeError"    // 413
	typeInternal    = "InternalServerError"     // 500
	typeUnavailable = "ServiceUnavailableError" // 503
)

// retryAfter is the Retry-After of a 503, in seconds: a queue that is full has
// room again within a few steps.
const retryAfter = 1

// maxQuoted bounds how much of a caller's value an error message repeats.
const maxQuoted = 80

// apiError is an answer that turns a request away.
type apiError struct {
	status  int
	kind    string
	param   string // field at fault, "" for none
	message string
}

func (e *apiError) Error() string { return e.message }

// badRequest is a 400 that names a field ("" for none).
func badRequest(param, format string, args ...any) *apiError {
	return &apiError{http.StatusBadRequest, typeBadRequest, param, fmt.Sprintf(format, args...)}
}

// body returns the error in OpenAI's shape.
func (e *apiError) body() []byte {
	type inner struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    int     `json:"code"`
	}
	in := inner{Message: e.message, Type: e.kind, Code: e.status}
	if e.param != "" {
		in.Param = &e.param
	}
	return marshal(map[string]inner{"error": in})
}

// asAPIError gives any error of the engine, or of a request's context, its status.
func asAPIError(err error) *apiError {
	var api *apiError
	var long *engine.TooLongError
	switch {
	case errors.As(err, &api):
		return api
	case errors.As(err, &long):
		return badRequest("max_tokens", "%s", long.Error())
	case errors.Is(err, engine.ErrEmptyPrompt), errors.Is(err, engine.ErrBadToken):
		return badRequest("prompt", "%s", err.Error())
	case errors.Is(err, sample.ErrNoToken):
		return badRequest("allowed_token_ids", "no token is left to be drawn: the tokenizer has none of allowed_token_ids")
	case errors.Is(err, engine.ErrBadParams):
		return badRequest("", "%s", err.Error())
	case errors.Is(err, engine.ErrOverloaded):
		return &apiError{http.StatusServiceUnavailable, typeUnavailable, "", err.Error() + "; try again later"}
	case errors.Is(err, engine.ErrClosed), errors.Is(err, context.Canceled):
		return &apiError{http.StatusServiceUnavailable, typeUnavailable, "", "the server is shutting down"}
	}
	return &apiError{http.StatusInternalServerError, typeInternal, "", err.Error()}
}

// writeError answers with an error. Only for answers that have not begun.
func (s *Server) writeError(w http.ResponseWriter, err error) {
	e := asAPIError(err)
	if e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	}
	if e.status == http.StatusInternalServerError {
		s.cfg.Log.Error("request failed", "status", e.status, "error", err)
	}
	s.writeJSON(w, e.status, e.body())
}

// quote shortens a caller's value for an error message.
func quote(raw []byte) string {
	if len(raw) > maxQuoted {
		return string(raw[:maxQuoted]) + "…"
	}
	return string(raw)
}
