package target

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// convertFolder makes a copy of a model's folder that TGI 3 reads right: of
// one that Transformers 5 wrote it would miss the rotary base, the dtype and
// the chat template, and give wrong text without an error. The copy has links
// to the files that stay as they are. With ignoreEOS nothing ends a sequence.
func convertFolder(src, dst string, ignoreEOS bool) error {
	src, err := filepath.Abs(src)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dst, 0o755); err != nil {
		return err
	}
	changes := map[string]func(map[string]any) error{
		"config.json":            modelConfig,
		"tokenizer_config.json":  func(c map[string]any) error { return tokenizerConfig(c, src) },
		"generation_config.json": func(c map[string]any) error { return endOfSequence(c, ignoreEOS) },
	}
	files, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, f := range files {
		if changes[f.Name()] != nil {
			continue
		}
		err := os.Symlink(filepath.Join(src, f.Name()), filepath.Join(dst, f.Name()))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	for name, change := range changes {
		if err := rewrite(filepath.Join(src, name), filepath.Join(dst, name), change); err != nil {
			return err
		}
	}
	return nil
}

// rewrite changes a JSON object; one that is missing is empty.
func rewrite(from, to string, change func(map[string]any) error) error {
	object := map[string]any{}
	data, err := os.ReadFile(from)
	if err == nil {
		err = json.Unmarshal(data, &object)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil && object == nil {
		err = errors.New("null, not an object")
	}
	if err == nil {
		err = change(object)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	if data, err = json.MarshalIndent(object, "", " "); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return os.WriteFile(to, data, 0o644)
}

// modelConfig moves to the top level what TGI looks for there.
func modelConfig(c map[string]any) error {
	if rope, ok := c["rope_parameters"].(map[string]any); ok {
		delete(c, "rope_parameters")
		if kind, ok := rope["rope_type"]; ok && kind != "default" {
			return fmt.Errorf("rope_type is %v, of which TGI 3 has another form: give it a folder that Transformers 4 wrote", kind)
		}
		if theta, ok := rope["rope_theta"]; ok {
			c["rope_theta"] = theta
		}
	}
	if dtype, ok := c["dtype"]; ok {
		delete(c, "dtype")
		c["torch_dtype"] = dtype
	}
	return nil
}

// tokenizerConfig puts in the chat template, which TGI seeks nowhere else.
func tokenizerConfig(c map[string]any, src string) error {
	c["tokenizer_class"] = "PreTrainedTokenizerFast"
	template, err := os.ReadFile(filepath.Join(src, "chat_template.jinja"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		c["chat_template"] = string(template)
	}
	return err
}

// endOfSequence takes the end of sequence away: a list replaces the
// tokenizer's, and no token has the id −1.
func endOfSequence(c map[string]any, ignore bool) error {
	if ignore {
		c["eos_token_id"] = []int{-1}
	}
	return nil
}
