package datasets

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
)

// warmUpRows are rows in the datasets' schemas, written for this project. They
// are in no measured set.
//
//go:embed warmup/*.jsonl
var warmUpRows embed.FS

// WarmUp returns prompts of a task for warming a server up before anything is
// measured: made like the measured ones, of rows that are in no measured set.
// There are at least four, with every tokenizer that brings them into the window.
func WarmUp(ctx context.Context, task Task, model Model, tok Tokenizer) (*Set, error) {
	src, err := warmUpSource(DatasetFor(task))
	if err != nil {
		return nil, err
	}
	set, err := Prepare(ctx, src, model, tok, Options{N: All})
	if err != nil {
		return nil, fmt.Errorf("warm-up prompts: %w", err)
	}
	return set, nil
}

func warmUpSource(d Dataset) (*Source, error) {
	name := d.Name + ".jsonl"
	data, err := warmUpRows.ReadFile("warmup/" + name)
	if err != nil {
		return nil, fmt.Errorf("warm-up prompts: %w", err)
	}
	sum := sha256.Sum256(data)
	return &Source{
		Dataset: d,
		Files:   []SourceFile{{Name: "warmup/" + name, SHA256: hex.EncodeToString(sum[:])}},
		inputs:  []input{bytesInput(name, data)},
	}, nil
}
