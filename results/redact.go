package results

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const struckOut = "REDACTED"

// secretWords are parts of flag names whose values are never written down.
// "tokens" and "tokenizer" are other words.
var secretWords = []string{"token", "key", "apikey", "secret", "password", "passwd", "credential", "credentials", "auth", "authorization", "bearer"}

// secretValue matches what is a secret wherever it stands: the access tokens
// of model hubs and API providers, and what follows "Bearer".
var secretValue = regexp.MustCompile(`\b(hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{16,}|gh[pousr]_[A-Za-z0-9]{16,})|(?i:\bbearer\s+)\S+`)

// isSecret reports whether a flag or variable of that name holds a secret.
func isSecret(name string) bool {
	words := strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return r == '-' || r == '_' || r == '.' })
	return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(secretWords, w) })
}

// redactValue returns the value of a flag with secrets struck out. A value may
// be a command line, as that of -serve-args is.
func redactValue(name, value string) string {
	if isSecret(name) && value != "" {
		return struckOut
	}
	return strings.Join(redactArgs(strings.Split(redactText(value), " ")), " ")
}

// redactText strikes out what is known to be a secret by its own form.
func redactText(s string) string {
	s = secretValue.ReplaceAllString(s, struckOut)
	if !strings.Contains(s, "://") {
		return s
	}
	if u, err := url.Parse(s); err == nil && u.User != nil {
		u.User = url.User(struckOut)
		return u.String()
	}
	return s
}

// redactArgs returns a command line with secrets struck out: --api-key X,
// --api-key=X, HF_TOKEN=X.
func redactArgs(args []string) []string {
	out := slices.Clone(args)
	for i := range out {
		name, value, hasValue := strings.Cut(out[i], "=")
		isFlag := strings.HasPrefix(name, "-")
		switch {
		case hasValue && isSecret(strings.TrimLeft(name, "-")):
			out[i] = name + "=" + struckOut
		case hasValue:
			out[i] = redactText(name) + "=" + redactText(value)
		case isFlag && isSecret(strings.TrimLeft(name, "-")) && i+1 < len(out) && !strings.HasPrefix(out[i+1], "-"):
			out[i+1] = struckOut // looked at once more, and left as it is
		default:
			out[i] = redactText(out[i])
		}
	}
	return out
}
