package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strconv"
)

// wrongType is the error of a value that is not what a field holds.
func wrongType(name, want string, raw json.RawMessage) error {
	return badRequest(name, "%s must be %s, got %s", name, want, quote(raw))
}

func stringField(at func(*request) *string) setter {
	return func(r *request, name string, raw json.RawMessage) error {
		if json.Unmarshal(raw, at(r)) != nil {
			return wrongType(name, "a string", raw)
		}
		return nil
	}
}

func boolField(at func(*request) *bool) setter {
	return func(r *request, name string, raw json.RawMessage) error {
		if json.Unmarshal(raw, at(r)) != nil {
			return wrongType(name, "true or false", raw)
		}
		return nil
	}
}

// optionalBool is a boolField that tells what was left out.
func optionalBool(at func(*request) **bool) setter {
	return func(r *request, name string, raw json.RawMessage) error {
		*at(r) = new(bool)
		return boolField(func(*request) *bool { return *at(r) })(r, name, raw)
	}
}

func setSkipSpecial(r *request, name string, raw json.RawMessage) error {
	var skip bool
	err := boolField(func(*request) *bool { return &skip })(r, name, raw)
	r.showSpecial = !skip
	return err
}

func floatField(at func(*request) **float64) setter {
	return func(r *request, name string, raw json.RawMessage) error {
		v, err := strconv.ParseFloat(string(raw), 64)
		if err != nil || !isNumber(raw) {
			return wrongType(name, allowed(name), raw)
		}
		*at(r) = &v
		return nil
	}
}

// intField takes an integer, also one written as 16.0 or 1e2.
func intField(at func(*request) **int64) setter {
	return func(r *request, name string, raw json.RawMessage) error {
		v, err := strconv.ParseInt(string(raw), 10, 64)
		if err != nil {
			f, ferr := strconv.ParseFloat(string(raw), 64)
			if ferr != nil || !isNumber(raw) || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
				return wrongType(name, allowed(name), raw)
			}
			v = int64(f)
		}
		*at(r) = &v
		return nil
	}
}

// isNumber tells a JSON number from what else strconv would take.
func isNumber(raw json.RawMessage) bool { return raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9' }

// set is a setter that takes only the value that changes nothing.
func (f refusal) set(_ *request, name string, raw json.RawMessage) error {
	if f.neutral != "" && sameJSON(raw, f.neutral) {
		return nil
	}
	return badRequest(name, "%s is not served: %s; leave it out or give %s, got %s",
		name, f.why, cmp.Or(f.neutral, "null"), quote(raw))
}

// sameJSON compares numbers by value, and anything else up to white space.
func sameJSON(raw json.RawMessage, value string) bool {
	if isNumber(raw) {
		a, errA := strconv.ParseFloat(string(raw), 64)
		b, errB := strconv.ParseFloat(value, 64)
		return errA == nil && errB == nil && a == b
	}
	var compact bytes.Buffer
	return json.Compact(&compact, raw) == nil && compact.String() == value
}

// setStop takes a string, or a list of at most maxStop.
func setStop(r *request, name string, raw json.RawMessage) error {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		r.stop = []string{one}
	} else if json.Unmarshal(raw, &r.stop) != nil {
		return wrongType(name, "a string or a list of strings", raw)
	}
	if len(r.stop) > maxStop {
		return badRequest(name, "stop has %d strings; at most %d are allowed", len(r.stop), maxStop)
	}
	if slices.Contains(r.stop, "") {
		return badRequest(name, "stop has an empty string, which would stop everything")
	}
	return nil
}

// maxStop is how many stop strings OpenAI's API allows.
const maxStop = 4

func idsField(at func(*request) *[]int32) setter {
	return func(r *request, name string, raw json.RawMessage) (err error) {
		if raw[0] != '[' {
			return wrongType(name, "a list of token ids", raw)
		}
		*at(r), err = tokenIDs(name, raw)
		return err
	}
}

// tokenIDs reads a list of integers, which raw is to be.
func tokenIDs(name string, raw json.RawMessage) (ids []int32, err error) {
	// encoding/json reads null as 0; in a list of numbers nothing else has an n.
	if bytes.ContainsRune(raw, 'n') {
		return nil, badRequest(name, "%s holds null, which is no token id", name)
	}
	err = json.Unmarshal(raw, &ids)
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return nil, badRequest(name, "%s holds a %s, which is no token id; they are integers from 0 to %d", name, quote([]byte(wrong.Value)), math.MaxInt32)
	}
	return ids, err
}

// setLogitBias takes an object from token ids, as strings, to numbers.
func setLogitBias(r *request, name string, raw json.RawMessage) error {
	if json.Unmarshal(raw, &r.logitBias) != nil {
		return wrongType(name, `an object from token ids to numbers, like {"50256": -100}`, raw)
	}
	return nil
}

func setStreamOptions(r *request, name string, raw json.RawMessage) error {
	var options map[string]json.RawMessage
	if json.Unmarshal(raw, &options) != nil {
		return wrongType(name, "an object", raw)
	}
	r.streamOptions = true
	known := map[string]*bool{"include_usage": &r.includeUsage, "continuous_usage_stats": &r.continuousUsage}
	for _, key := range slices.Sorted(maps.Keys(options)) {
		value := options[key]
		to, ok := known[key]
		switch full := name + "." + key; {
		case isNull(value):
		case !ok:
			r.ignored = append(r.ignored, quote([]byte(full)))
		case json.Unmarshal(value, to) != nil:
			return wrongType(full, "true or false", value)
		}
	}
	return nil
}
