package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"

	"servebench/serving/api"
	"servebench/serving/weights"
)

// defaults returns the sampling parameters of requests that bring none: the
// model's generation_config.json, as vLLM takes them, else temperature 1 and
// top_p 1. Which were taken, and which this server lacks, is said.
func (o *options) defaults(loc weights.Location, c *console) (api.Defaults, error) {
	d := api.Defaults{Temperature: 1, TopP: 1}
	if o.genConfig != "auto" || loc.Dir == "" {
		return d, nil
	}
	path := filepath.Join(loc.Dir, "generation_config.json")
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return d, nil
	}
	if err != nil {
		return d, err
	}
	var taken []string
	if d, taken, err = readDefaults(b, d); err != nil {
		return d, fmt.Errorf("%s: %w (--generation-config vllm leaves the file unread)", path, err)
	}
	if len(taken) > 0 {
		c.say("sampling defaults from generation_config.json: %s (--generation-config vllm leaves them out)", strings.Join(taken, ", "))
	}
	return d, nil
}

// readDefaults lays a generation_config.json over d, and lists what it took and
// what it could not take.
func readDefaults(b []byte, d api.Defaults) (api.Defaults, []string, error) {
	var g struct {
		Temperature       *float64 `json:"temperature"`
		TopP              *float64 `json:"top_p"`
		TopK              *int     `json:"top_k"`
		MinP              *float64 `json:"min_p"`
		RepetitionPenalty *float64 `json:"repetition_penalty"`
		MaxNewTokens      *int     `json:"max_new_tokens"`
	}
	if err := json.Unmarshal(b, &g); err != nil {
		return d, nil, err
	}
	var taken []string
	if v := g.Temperature; v != nil {
		if !(*v >= 0) || math.IsInf(*v, 0) {
			return d, nil, fmt.Errorf("temperature is %v, must be 0 or more", *v)
		}
		d.Temperature, taken = *v, append(taken, fmt.Sprintf("temperature %v", *v))
	}
	if v := g.TopP; v != nil {
		if !(*v > 0 && *v <= 1) {
			return d, nil, fmt.Errorf("top_p is %v, must be above 0 and at most 1", *v)
		}
		d.TopP, taken = *v, append(taken, fmt.Sprintf("top_p %v", *v))
	}
	if v := g.TopK; v != nil {
		d.TopK, taken = max(*v, 0), append(taken, fmt.Sprintf("top_k %d", *v))
	}
	if v := g.MinP; v != nil {
		if !(*v >= 0 && *v <= 1) {
			return d, nil, fmt.Errorf("min_p is %v, must be 0 to 1", *v)
		}
		d.MinP, taken = *v, append(taken, fmt.Sprintf("min_p %v", *v))
	}
	if v := g.RepetitionPenalty; v != nil {
		if !(*v > 0) || math.IsInf(*v, 0) {
			return d, nil, fmt.Errorf("repetition_penalty is %v, must be above 0", *v)
		}
		d.RepetitionPenalty, taken = *v, append(taken, fmt.Sprintf("repetition_penalty %v", *v))
	}
	if g.MaxNewTokens != nil {
		taken = append(taken, "NOT max_new_tokens, which is not supported yet")
	}
	return d, taken, nil
}
