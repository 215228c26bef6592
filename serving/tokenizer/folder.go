package tokenizer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// maxFile bounds the size of a file that is read; the largest published
// tokenizer.json (Gemma's) has 34 MB.
const maxFile = 256 << 20

// Open reads the tokenizer of a model on disk: a folder with a tokenizer.json or
// a tokenizer.model (see FromFolder), or a .gguf file (see FromGGUF).
func Open(path string) (*Tokenizer, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return FromFolder(path)
	}
	return openGGUF(path)
}

// OpenOrDummy reads the tokenizer at path as Open does. Where there is none, or
// path is "", it returns the built-in one for a model of vocab ids: random
// weights need no files.
func OpenOrDummy(path string, vocab int) (*Tokenizer, error) {
	if path != "" {
		t, err := Open(path)
		if !errors.Is(err, fs.ErrNotExist) {
			return t, err
		}
	}
	return Dummy(vocab)
}

// FromFolder reads a model folder: tokenizer.json or, where there is none,
// tokenizer.model, as Transformers does; and where they are present
// tokenizer_config.json, special_tokens_map.json, added_tokens.json,
// generation_config.json, config.json and chat_template.jinja. An error names the
// file at fault; it wraps fs.ErrNotExist when there is neither of the first two,
// ErrUnsupported when it is of a kind that this package lacks.
func FromFolder(dir string) (*Tokenizer, error) {
	v, err := readVocabulary(dir)
	if err != nil {
		return nil, err
	}
	if err := v.readFolder(dir); err != nil {
		return nil, err
	}
	t, err := v.tokenizer()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	return t, nil
}

// readVocabulary reads a folder's tokenizer.json, else its tokenizer.model.
func readVocabulary(dir string) (*vocabulary, error) {
	for _, file := range []struct {
		name  string
		parse func([]byte) (*vocabulary, error)
	}{{"tokenizer.json", parseJSON}, {"tokenizer.model", parseModel}} {
		path := filepath.Join(dir, file.name)
		data, err := readFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		v, err := file.parse(data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		return v, nil
	}
	return nil, fmt.Errorf("%s has neither a tokenizer.json nor a tokenizer.model: %w", dir, fs.ErrNotExist)
}

// readFile reads a file of at most maxFile bytes.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s: larger than %d MB", path, maxFile>>20)
	}
	return data, nil
}

// readOptional decodes a JSON file into to, and leaves it as it is where there is none.
func readOptional(dir, name string, to any) error {
	path := filepath.Join(dir, name)
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// tokenNames are the special tokens that a configuration gives a role.
var tokenNames = []string{"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token"}

// readFolder reads the files beside a tokenizer.json or tokenizer.model.
func (v *vocabulary) readFolder(dir string) error {
	var config, special map[string]json.RawMessage
	if err := readOptional(dir, "tokenizer_config.json", &config); err != nil {
		return err
	}
	if err := readOptional(dir, "special_tokens_map.json", &special); err != nil {
		return err
	}
	var generation, model struct {
		EOS       idList `json:"eos_token_id"`
		ModelType string `json:"model_type"`
	}
	if err := readOptional(dir, "generation_config.json", &generation); err != nil {
		return err
	}
	if err := readOptional(dir, "config.json", &model); err != nil {
		return err
	}
	if v.names == nil {
		v.names = map[string]string{}
	}
	for _, name := range tokenNames {
		for _, file := range []map[string]json.RawMessage{special, config} {
			if text := tokenText(file[name]); text != "" {
				v.names[name] = text
			}
		}
	}
	var class classConfig
	if err := readOptional(dir, "tokenizer_config.json", &class); err != nil {
		return err
	}
	if err := v.readClass(dir, class, model.ModelType); err != nil {
		return err
	}
	v.promote()
	if err := v.putAround(class); err != nil {
		return err
	}
	// As in vLLM: the tokenizer's own, and the generation configuration's, which
	// Transformers derives from config.json where there is none.
	v.eos = generation.EOS
	if v.eos == nil {
		v.eos = model.EOS
	}
	if id := slices.Index(v.tokens, v.names["eos_token"]); id >= 0 {
		v.eos = append(v.eos, int64(id))
	}
	return v.readTemplate(dir, config["chat_template"])
}

// promote makes special tokens of those that the configuration gives a role and
// that tokenizer.json has as ordinary tokens, as Transformers does.
func (v *vocabulary) promote() {
	for _, name := range slices.Sorted(maps.Keys(v.names)) {
		text := v.names[name]
		i := slices.IndexFunc(v.added, func(a addedToken) bool { return a.Content == text })
		if i >= 0 {
			v.added[i].Special = true
		} else if id := slices.Index(v.tokens, text); id >= 0 {
			v.added = append(v.added, addedToken{ID: int64(id), Content: text, Special: true})
		}
	}
}

// idList is a token id or a list of them.
type idList []int64

func (l *idList) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '[' {
		return json.Unmarshal(b, (*[]int64)(l))
	}
	var id *int64
	if err := json.Unmarshal(b, &id); err != nil {
		return err
	}
	if id != nil {
		*l = idList{*id}
	}
	return nil
}

// tokenText returns the text of a token that is given as a string or an AddedToken, "" for none.
func tokenText(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text
	}
	var token addedToken
	if json.Unmarshal(raw, &token) == nil {
		return token.Content
	}
	return ""
}

// readTemplate reads the chat template: chat_template.jinja, else that of the
// configuration, a string or a list of named ones, of which the one named
// default is the model's.
func (v *vocabulary) readTemplate(dir string, raw json.RawMessage) error {
	data, err := readFile(filepath.Join(dir, "chat_template.jinja"))
	if err == nil {
		v.template = string(data)
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(raw) == 0 || json.Unmarshal(raw, &v.template) == nil {
		return nil
	}
	var named []struct{ Name, Template string }
	if err := json.Unmarshal(raw, &named); err != nil {
		return fmt.Errorf("%s: chat_template: %w", filepath.Join(dir, "tokenizer_config.json"), err)
	}
	for _, n := range named {
		if n.Name == "default" {
			v.template = n.Template
		}
	}
	return nil
}
