package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"

	"servebench/kernels"
	"servebench/kernels/cuda"
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
	defer ck.Close() // once more where it is loaded
	spec, err := models.Describe(ck)
	if err != nil {
		return nil, err
	}
	at, limits, need, err := o.limits(ck, spec, c)
	if err != nil {
		return nil, err
	}
	opened := at
	defer func() {
		if err := opened.close(); err != nil { // not given on to a server
			c.say("giving back the GPU: %v", err)
		}
	}()
	tok, err := tokenizer.OpenFor(loc, wo)
	if err != nil {
		return nil, err
	}
	defaults, err := o.defaults(loc, c)
	if err != nil {
		return nil, err
	}
	c.say("model %s: %s, %d layers, width %d, vocabulary %d, context %d of %d tokens", o.model,
		spec.Architecture, spec.Layers, spec.Width, spec.Vocab, limits.MaxModelLen, spec.MaxPositions)
	o.sayWeights(c, loc, need)
	opened = nil
	s, err := o.start(ck, spec, at, limits, tok, c)
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
	c.say("loaded in %.1f s; up to %d sequences and %d tokens in a step; peak memory %s", time.Since(start).Seconds(),
		limits.MaxSeqs, limits.MaxTokens, size(peakMemory()))
	return s, nil
}

// start puts the model on the device, the CPU being opened now, and starts the
// engine. The device is the server's, or closed where there is an error.
func (o *options) start(ck weights.Checkpoint, spec models.Spec, at *place, limits models.Limits, tok *tokenizer.Tokenizer, c *console) (*server, error) {
	dev := at.dev
	if dev == nil {
		var why, err error
		if dev, why, err = openCPU(o); err != nil {
			return nil, err
		}
		if why != nil {
			c.say("WARNING: %v; plain Go kernels do the work instead: right, but many times slower", why)
		}
	}
	c.say("device %s, %s; KV cache of %d blocks, %d tokens, %s", dev.Name(), dev.DType(), limits.Blocks, limits.Blocks*limits.BlockSize,
		size(int64(limits.Blocks)*at.layout.block(spec.Attn, spec.Layers, limits.BlockSize, dev.DType())))
	m, err := loadModel(dev, ck, limits)
	if errors.Is(err, cuda.ErrMemory) {
		err = fmt.Errorf("%w; was the memory taken by another process meanwhile (nvidia-smi)? A smaller --gpu-memory-utilization (%g) leaves more of it free", err, o.gpuUtil)
	}
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	if err := o.capture(m, dev, c); err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	if tok.Size() > spec.Vocab {
		c.say("WARNING: the tokenizer has %d ids, the model %d: a prompt with one of the others is refused", tok.Size(), spec.Vocab)
	}
	e, err := engine.New(m, engine.Config{
		SampleVocab: min(tok.Size(), spec.Vocab), MaxPrefill: o.prefill(at.gpu()), MaxLogprobs: o.maxLogprobs,
		PrefixCaching: o.prefixCaching, Log: c.log(),
	})
	if err != nil {
		return nil, errors.Join(err, dev.Close())
	}
	return &server{device: dev, engine: e}, nil
}

// loadModel puts a model on the device, and leaves nothing of its checkpoint but
// the configuration in this process.
func loadModel(dev kernels.Device, ck weights.Checkpoint, limits models.Limits) (*models.Model, error) {
	m, err := models.Open(dev, ck, limits)
	err = errors.Join(err, ck.Close())
	debug.FreeOSMemory()
	return m, err
}

// close ends the engine, within ctx, and frees the device. Where the engine did
// not end in time the device is left alone: a step may still be using it.
func (s *server) close(ctx context.Context) error {
	if err := s.engine.Close(ctx); err != nil {
		return fmt.Errorf("the engine did not stop: %w", err)
	}
	return s.device.Close()
}

// limits finds where the model goes, checks the command line against the model's
// sizes and the memory there, and tells what the model needs of it. The place is
// the caller's to close.
func (o *options) limits(ck weights.Checkpoint, spec models.Spec, c *console) (at *place, l models.Limits, n need, err error) {
	if l, err = o.sizes(spec, false); err != nil {
		return nil, l, n, err
	}
	if n, err = measure(ck, o.dtype, l, hostLayout{}); err != nil {
		return nil, l, n, err
	}
	if at, l, err = o.place(spec, n.stored, c); err != nil {
		return nil, l, n, err
	}
	if n, err = measure(ck, o.dtype, l, at.layout); err == nil {
		l, err = o.fit(spec, l, n, at)
	}
	if err != nil {
		return nil, l, n, errors.Join(err, at.close())
	}
	return at, l, n, nil
}

// sizes are a step's and a sequence's, as asked for, or as suits the device.
func (o *options) sizes(spec models.Spec, gpu bool) (models.Limits, error) {
	seqs, tokens := defaultMaxSeqs, defaultMaxTokens
	if gpu {
		seqs, tokens = gpuMaxSeqs, gpuMaxTokens
	}
	l := models.Limits{MaxModelLen: cmp.Or(o.maxModelLen, spec.MaxPositions), BlockSize: o.blockSize}
	l.MaxTokens = cmp.Or(o.maxTokens, max(tokens, o.maxSeqs))
	l.MaxSeqs = cmp.Or(o.maxSeqs, min(seqs, l.MaxTokens))
	if l.MaxModelLen > spec.MaxPositions {
		return l, usage("--max-model-len %d is beyond what %s was made for: it must be from 2 to %d", l.MaxModelLen, o.model, spec.MaxPositions)
	}
	return l, nil
}

// prefill is --long-prefill-token-threshold, as asked for, or as suits the device.
func (o *options) prefill(gpu bool) int {
	switch {
	case o.maxPrefill >= 0:
		return o.maxPrefill
	case gpu:
		return gpuMaxPrefill
	}
	return defaultMaxPrefill
}

// sayWeights tells where the weights come from, what they take, and what auto
// made of their dtype.
func (o *options) sayWeights(c *console, loc weights.Location, n need) {
	c.say("weights: %s; %s in %s", o.origin(loc), size(n.weights), o.dtype)
	if o.dtypeAuto && n.stored != o.dtype {
		c.say("dtype %s: the checkpoint's matrices, read as %s, are rounded to it (--dtype float32 rounds nothing)", o.dtype, n.stored)
	}
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
