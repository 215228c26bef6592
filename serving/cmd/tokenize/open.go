package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"

	"servebench/serving/tokenizer"
	"servebench/serving/weights"
)

// run is main with its surroundings given; it returns the exit status.
func run(args []string, in io.Reader, out, complaints io.Writer) int {
	flags := flag.NewFlagSet("tokenize", flag.ContinueOnError)
	flags.SetOutput(complaints)
	model := flags.String("model", "", "`folder`, .gguf file or hub id (org/name); required")
	format := flags.String("load-format", string(weights.Auto), "auto, or dummy: a known hub id without files gets the built-in vocabulary")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	}
	refuse := func(why string) int {
		fmt.Fprintf(complaints, "tokenize: %s; tokenize --help lists the flags\n", why)
		return 2
	}
	switch load := weights.LoadFormat(*format); {
	case *model == "":
		return refuse("--model is required")
	case flags.NArg() > 0:
		return refuse(fmt.Sprintf("unexpected argument %q", flags.Arg(0)))
	case load != weights.Auto && load != weights.Dummy:
		return refuse(fmt.Sprintf("--load-format %q: allowed are auto and dummy", *format))
	}
	t, err := open(context.Background(), *model, weights.LoadFormat(*format))
	if err == nil {
		err = serve(t, in, out)
	} else {
		_ = json.NewEncoder(out).Encode(map[string]string{"error": err.Error()})
	}
	if err != nil {
		fmt.Fprintf(complaints, "tokenize: %v\n", err)
		return 1
	}
	return 0
}

// open finds a model and reads its tokenizer.
func open(ctx context.Context, model string, format weights.LoadFormat) (*tokenizer.Tokenizer, error) {
	options := weights.Options{LoadFormat: format}
	at, err := weights.Resolve(ctx, model, weights.TokenizerOnly, options)
	if err != nil {
		return nil, err
	}
	t, err := tokenizer.OpenFor(at, options)
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", model, err)
	}
	return t, nil
}
