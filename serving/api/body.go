package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"time"
	"unicode/utf8"
)

// readBody returns a request's JSON body, at most MaxBody bytes of it. It must
// be read to its end: only then does net/http notice that a client went away.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if mt, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || mt != "application/json" {
		return nil, badRequest("", "Content-Type is %q; only application/json is taken", quote([]byte(r.Header.Get("Content-Type"))))
	}
	if r.ContentLength > s.cfg.MaxBody {
		return nil, s.tooLarge()
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, s.cfg.MaxBody))
	if tooLong := (*http.MaxBytesError)(nil); errors.As(err, &tooLong) {
		return nil, s.tooLarge()
	}
	if err != nil {
		return nil, badRequest("", "the body did not arrive whole: %v", err)
	}
	// The limit was the body's; what follows is only the watch for a hang-up.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return body, nil
}

func (s *Server) tooLarge() *apiError {
	return &apiError{http.StatusRequestEntityTooLarge, typeTooLarge, "",
		fmt.Sprintf("the body is larger than %d bytes", s.cfg.MaxBody)}
}

// notNumber finds a field whose value is a number that JSON does not have, as
// Python's json module writes it.
var notNumber = regexp.MustCompile(`"([^"\\]{1,64})"\s{0,8}:\s{0,8}(-?(?:NaN|Infinity))`)

// parseObject runs the setter of every field of a JSON object. Fields without
// one go to req.ignored. Of several errors the one of the alphabetically first field is returned.
func parseObject(req *request, body []byte, fields map[string]setter) error {
	if !utf8.Valid(body) {
		return badRequest("", "the body is not UTF-8: byte %d", invalidUTF8(body))
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return jsonError(body, err, fields)
	}
	if raw == nil {
		return badRequest("", "the body must be a JSON object, not null")
	}
	for _, name := range slices.Sorted(maps.Keys(raw)) {
		value := raw[name]
		set, known := fields[name]
		switch {
		case isNull(value):
		case known:
			if err := set(req, name, value); err != nil {
				return err
			}
		default:
			req.ignored = append(req.ignored, quote([]byte(name)))
		}
	}
	return nil
}

// jsonError says where a body stops being JSON, and names the field where that
// is for a NaN or an Infinity. Within a field's value, the name is the value's.
func jsonError(body []byte, err error, fields map[string]setter) error {
	var syntax *json.SyntaxError
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return badRequest("", "the body must be a JSON object, not of type %s", wrong.Value)
	}
	if !errors.As(err, &syntax) {
		return badRequest("", "the body must be a JSON object: %v", err)
	}
	at := min(max(int(syntax.Offset), 0), len(body))
	from, to := max(at-100, 0), min(at+10, len(body))
	for _, m := range notNumber.FindAllSubmatchIndex(body[from:to], -1) {
		if m[4] < at-from && at-from <= m[5] { // the parser stopped within the number
			name, value := string(body[from+m[2]:from+m[3]]), body[from+m[4]:from+m[5]]
			param := name
			if fields[name] == nil {
				param = ""
			}
			return badRequest(param, "%s is %s, which is no number in JSON; it must be %s", name, value, allowed(name))
		}
	}
	return badRequest("", "the body is not JSON: byte %d: %v", at, err)
}

func invalidUTF8(b []byte) int {
	at := 0
	for at < len(b) {
		r, n := utf8.DecodeRune(b[at:])
		if r == utf8.RuneError && n == 1 {
			break
		}
		at += n
	}
	return at
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }
