package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"servebench/kernels"
	"servebench/serving/api"
	"servebench/serving/engine"
	"servebench/serving/models"
	"servebench/serving/tokenizer"
	"servebench/serving/weights"
)

// server is everything that load made.
type server struct {
	device kernels.Device
	engine *engine.Engine
	api    *api.Server
}

// load goes from the command line to a server, telling its progress to c.
func load(ctx context.Context, o *options, c *console) (*server, error) {
	start := time.Now()
	wo := weights.Options{LoadFormat: o.loadFormat, Seed: o.seed}
	loc, err := weights.Resolve(ctx, o.model, weights.Everything, wo)
	if err != nil {
		return nil, err
	}
	ck, err := loc.Open(wo)
	if err != nil {
		return nil, err
	}
	defer ck.Close()
	spec, err := models.Describe(ck)
	if err != nil {
		return nil, err
	}
	limits, err := o.limits(spec)
	if err != nil {
		return nil, err
	}
	tok, err := openTokenizer(loc, o.loadFormat, spec.Vocab)
	if err != nil {
		return nil, err
	}
	defaults, err := o.defaults(loc, c)
	if err != nil {
		return nil, err
	}
	c.say("model %s: %s, %d layers, width %d, vocabulary %d, context %d of %d tokens", o.model,
		spec.Architecture, spec.Layers, spec.Width, spec.Vocab, limits.MaxModelLen, spec.MaxPositions)
	c.say("weights: %s", o.origin(loc))
	s, err := o.start(ck, spec, limits, tok, c)
	if err != nil {
		return nil, err
	}
	s.api, err = api.New(api.Config{
		Engine: api.UseEngine(s.engine), Tokenizer: api.UseTokenizer(tok), Models: o.names, Root: o.model,
		Vocab: spec.Vocab, MaxModelLen: s.engine.MaxModelLen(), MaxLogprobs: s.engine.MaxLogprobs(), Defaults: defaults,
		Fingerprint: o.fingerprint(ck, s.device), Version: version(), MaxBody: o.maxRequestBytes,
		Seed: o.seeds(), Log: c.log(),
	})
	if err != nil {
		return nil, errors.Join(err, s.close(ctx))
	}
	c.say("loaded in %.1f s; up to %d sequences and %d tokens in a step", time.Since(start).Seconds(), limits.MaxSeqs, limits.MaxTokens)
	return s, nil
}

// start opens the device, puts the model on it and starts the engine.
func (o *options) start(ck weights.Checkpoint, spec models.Spec, limits models.Limits, tok *tokenizer.Tokenizer, c *console) (*server, error) {
	dev, why, err := openDevice(o)
	if err != nil {
		return nil, err
	}
	if why != nil {
		c.say("WARNING: %v; plain Go kernels do the work instead: right, but many times slower", why)
	}
	c.say("device %s, %s; KV cache of %d blocks, %d tokens, %s", dev.Name(), dev.DType(), limits.Blocks, limits.Blocks*limits.BlockSize,
		size(int64(limits.Blocks)*blockBytes(limits.BlockSize, spec.KVBytesPerToken(dev.DType()))))
	m, err := models.Open(dev, ck, limits)
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	if tok.Size() > spec.Vocab {
		c.say("WARNING: the tokenizer has %d ids, the model %d: a prompt with one of the others is refused", tok.Size(), spec.Vocab)
	}
	e, err := engine.New(m, engine.Config{SampleVocab: min(tok.Size(), spec.Vocab), MaxLogprobs: o.maxLogprobs, Log: c.log()})
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return &server{device: dev, engine: e}, nil
}

// close ends the engine, within ctx, and frees the device. Where the engine did
// not end in time the device is left alone: a step may still be using it.
func (s *server) close(ctx context.Context) error {
	if err := s.engine.Close(ctx); err != nil {
		return fmt.Errorf("the engine did not stop: %w", err)
	}
	return s.device.Close()
}

// limits checks the command line against the model's sizes and this machine's memory.
func (o *options) limits(spec models.Spec) (models.Limits, error) {
	l := models.Limits{MaxModelLen: o.maxModelLen, MaxTokens: o.maxTokens, MaxSeqs: o.maxSeqs, BlockSize: o.blockSize}
	if l.MaxModelLen == 0 {
		l.MaxModelLen = spec.MaxPositions
	}
	if l.MaxModelLen > spec.MaxPositions {
		return l, usage("--max-model-len %d is beyond what %s was made for: it must be from 2 to %d", l.MaxModelLen, o.model, spec.MaxPositions)
	}
	free, err := freeMemory()
	if err != nil {
		return l, fmt.Errorf("finding how much memory is free: %w", err)
	}
	if need := stepBytes(spec, o.maxTokens, o.maxSeqs); need > free {
		return l, usage("--max-num-batched-tokens %d and --max-num-seqs %d need %s for a step's activations, but %s of memory are free: give smaller ones",
			o.maxTokens, o.maxSeqs, size(need), size(free))
	}
	l.Blocks, err = kvBlocks(o, l.MaxModelLen, spec.KVBytesPerToken(o.dtype), free)
	return l, err
}

// openTokenizer opens the model's tokenizer. Dummy weights need no files, so a
// model that has none gets the small built-in one.
func openTokenizer(loc weights.Location, format weights.LoadFormat, vocab int) (*tokenizer.Tokenizer, error) {
	if format != weights.Dummy {
		return tokenizer.Open(loc.Path())
	}
	return tokenizer.OpenOrDummy(loc.Path(), vocab)
}

// origin tells people where the weights come from.
func (o *options) origin(loc weights.Location) string {
	switch {
	case o.loadFormat == weights.Dummy:
		return fmt.Sprintf("DUMMY, random from seed %d: the text will be noise", o.seed)
	case loc.GGUF != "":
		return loc.GGUF
	}
	return loc.Dir
}

// fingerprint names what a seed's text depends on: this build, the model's
// configuration, the device and its dtype.
func (o *options) fingerprint(ck weights.Checkpoint, dev kernels.Device) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%s\n%s %d", o.model, ck.Config(), dev.Name(), dev.DType(), o.loadFormat, o.seed)
	return "servebench-" + version() + "-" + hex.EncodeToString(h.Sum(nil)[:4])
}

// seeds returns where requests without a seed get one: from --seed, so that
// the same requests in the same order give the same text, else at random (nil).
func (o *options) seeds() func() uint64 {
	if !o.seedGiven {
		return nil
	}
	var n atomic.Uint64
	return func() uint64 {
		// The finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
		z := o.seed + n.Add(1)*0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
}

// stepBytes is about what a step's activations take: float32, by the buffers
// that models.Open allocates and the engine's copy of the logits.
func stepBytes(s models.Spec, tokens, seqs int) int64 {
	up := s.FFN
	if s.FFNGated {
		up *= 2
	}
	row := 3*s.Width + (2*s.Attn.Heads+2*s.Attn.KVHeads)*s.Attn.HeadDim + up + s.FFN
	out := 2*s.Width + 2*s.Vocab
	total := float64(tokens)*float64(row)*4 + float64(seqs)*float64(out)*4
	return int64(min(total, math.MaxInt64/2))
}

// size writes bytes for people.
func size(n int64) string {
	const mib = 1 << 20
	if n < 1<<30 {
		return fmt.Sprintf("%.1f MiB", float64(n)/mib)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}

// log is where the packages below say what is worth a line.
func (c *console) log() *slog.Logger { return slog.New(slog.NewTextHandler(c, nil)) }
