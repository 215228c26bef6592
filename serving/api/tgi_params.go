package api

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"

	"servebench/serving/engine"
	"servebench/serving/sample"
)

// tgiRoute is what differs between TGI's generating routes.
type tgiRoute struct {
	stream   bool // always streams
	either   bool // streams if the body says so, and answers with a list else
	fullText bool // return_full_text's default
}

var (
	tgiGenerate = tgiRoute{}
	tgiStream   = tgiRoute{stream: true}
	tgiCompat   = tgiRoute{either: true, fullText: true}
)

// tgiRequest is a parsed body. nil, and false, stand for what was left out.
type tgiRequest struct {
	inputs     string
	stream     bool
	parameters bool // given

	bestOf, maxNewTokens, topK, topN, truncate *int64
	temperature, topP, typicalP                *float64
	repetition, frequency                      *float64
	seed                                       *uint64
	stop                                       []string
	doSample, details, prefill                 bool
	fullText                                   *bool
}

// fields returns the setters of one request's body.
func (q *tgiRequest) fields() map[string]setter {
	return map[string]setter{
		"inputs": stringField(func(*request) *string { return &q.inputs }),
		"stream": boolField(func(*request) *bool { return &q.stream }),
		"parameters": func(r *request, name string, raw json.RawMessage) error {
			if raw[0] != '{' {
				return wrongType(name, "an object", raw)
			}
			q.parameters = true
			var inner request
			if err := parseObject(&inner, raw, q.parameterFields()); err != nil {
				return err
			}
			for _, ignored := range inner.ignored {
				r.ignored = append(r.ignored, name+"."+ignored)
			}
			return nil
		},
	}
}

// parameterFields returns the setters of one request's parameters; tgi.go
// explains them.
func (q *tgiRequest) parameterFields() map[string]setter {
	ints := func(to **int64) setter { return intField(func(*request) **int64 { return to }) }
	floats := func(to **float64) setter { return floatField(func(*request) **float64 { return to }) }
	bools := func(to *bool) setter { return boolField(func(*request) *bool { return to }) }
	return map[string]setter{
		"best_of":               ints(&q.bestOf),
		"decoder_input_details": bools(&q.prefill),
		"details":               bools(&q.details),
		"do_sample":             bools(&q.doSample),
		"frequency_penalty":     floats(&q.frequency),
		"max_new_tokens":        ints(&q.maxNewTokens),
		"repetition_penalty":    floats(&q.repetition),
		"return_full_text":      optionalBool(func(*request) **bool { return &q.fullText }),
		"seed":                  q.setSeed,
		"stop":                  q.setStop,
		"temperature":           floats(&q.temperature),
		"top_k":                 ints(&q.topK),
		"top_n_tokens":          ints(&q.topN),
		"top_p":                 floats(&q.topP),
		"truncate":              ints(&q.truncate),
		"adapter_id":            refusal{"", "this server has one model and no adapters"}.set,
		"grammar":               refusal{"", noSchema}.set,
		"typical_p":             floats(&q.typicalP),
		"watermark":             refusal{"false", "texts are not marked here"}.set,
	}
}

func (q *tgiRequest) setSeed(_ *request, name string, raw json.RawMessage) error {
	v, err := strconv.ParseUint(string(raw), 10, 64)
	if err != nil {
		return wrongType(name, "an integer of 64 bits, 0 or more", raw)
	}
	q.seed = &v
	return nil
}

func (q *tgiRequest) setStop(_ *request, name string, raw json.RawMessage) error {
	if json.Unmarshal(raw, &q.stop) != nil {
		return wrongType(name, "a list of strings", raw)
	}
	if len(q.stop) > maxStop {
		return badRequest(name, "`stop` supports up to %d stop sequences; given: %d", maxStop, len(q.stop))
	}
	if slices.Contains(q.stop, "") {
		return badRequest(name, "`stop` has an empty string, which would stop everything")
	}
	return nil
}

// tgiJob is a request that was found good.
type tgiJob struct {
	inputs   string
	seqs     []engine.Request // best_of of them
	stop     []automaton
	details  bool
	prefill  bool
	sampling bool
	fullText bool
	stream   bool
	array    bool // the answer is a list of one
}

// tgiAccept reads and checks a request and encodes its prompt.
func (s *Server) tgiAccept(rt tgiRoute, w http.ResponseWriter, r *http.Request) (*tgiJob, error) {
	var q tgiRequest
	if _, err := s.readFields(w, r, q.fields()); err != nil {
		return nil, err
	}
	j := &tgiJob{inputs: q.inputs, stop: newAutomata(q.stop), details: q.details || q.prefill, prefill: q.prefill,
		stream: rt.stream || rt.either && q.stream, fullText: rt.fullText}
	j.array = rt.either && !j.stream
	if q.fullText != nil {
		j.fullText = *q.fullText
	}
	base, err := s.tgiLimits(&q, j)
	if err != nil {
		return nil, err
	}
	if base.Sampling, j.sampling, err = q.sampling(); err != nil {
		return nil, err
	}
	bestOf, err := q.best(j)
	if err != nil {
		return nil, err
	}
	base.Logprobs = j.stream || j.details || bestOf > 1 || base.TopLogprobs > 0
	base.PromptLogprobs = j.prefill
	base.StopTokens = s.eos
	base.Prompt, err = s.tgiPrompt(&q)
	if err != nil {
		return nil, err
	}
	room := s.cfg.MaxModelLen - len(base.Prompt)
	if room < 1 || base.MaxTokens > room {
		return nil, badRequest("inputs", "`inputs` tokens + `max_new_tokens` must be <= %d, the model's context; given: %d `inputs` tokens and %d `max_new_tokens`",
			s.cfg.MaxModelLen, len(base.Prompt), max(1, base.MaxTokens))
	}
	if base.MaxTokens == 0 {
		base.MaxTokens = room
	}
	id := "tgi-" + newID()
	for k := range bestOf {
		one := base
		one.ID = id
		if bestOf > 1 {
			one.ID += "-" + strconv.Itoa(k)
		}
		one.Sampling.Seed = s.cfg.Seed()
		if q.seed != nil {
			one.Sampling.Seed = *q.seed
		}
		j.seqs = append(j.seqs, one)
	}
	return j, nil
}

// tgiLimits checks the numbers of tokens that a request asks for.
func (s *Server) tgiLimits(q *tgiRequest, j *tgiJob) (engine.Request, error) {
	var base engine.Request
	topN := min(tgiMaxTopN, s.cfg.MaxLogprobs)
	for _, f := range []struct {
		name        string
		given       *int64
		least, most int
		to          *int
	}{
		{"max_new_tokens", q.maxNewTokens, 1, math.MaxInt, &base.MaxTokens},
		{"top_n_tokens", q.topN, 0, topN, &base.TopLogprobs},
		{"truncate", q.truncate, 1, s.cfg.MaxModelLen - 1, new(int)},
	} {
		switch {
		case f.given == nil:
		case *f.given < int64(f.least):
			return base, badRequest(f.name, "`%s` is %d; it must be at least %d", f.name, *f.given, f.least)
		case *f.given > int64(f.most):
			return base, badRequest(f.name, "`%s` is %d; it must be at most %d", f.name, *f.given, f.most)
		default:
			*f.to = int(min(*f.given, math.MaxInt32)) // the context is checked with the prompt
		}
	}
	if j.stream && q.prefill {
		return base, badRequest("decoder_input_details", "`decoder_input_details` is not supported when streaming tokens")
	}
	return base, nil
}

// sampling returns TGI's parameters, and whether tokens are drawn at random.
func (q *tgiRequest) sampling() (p sample.Params, random bool, err error) {
	p = sample.Params{Temperature: 1, TopP: 1, RepetitionPenalty: 1}
	for _, f := range []struct {
		name  string
		given *float64
		to    *float64
		ok    func(float64) bool
		want  string
	}{
		{"temperature", q.temperature, &p.Temperature, func(x float64) bool { return x > 0 && finite(x) }, "> 0.0"},
		{"top_p", q.topP, &p.TopP, func(x float64) bool { return x > 0 && x < 1 }, "> 0.0 and < 1.0"},
		{"typical_p", q.typicalP, &p.TypicalP, func(x float64) bool { return x > 0 && x < 1 }, "> 0.0 and < 1.0"},
		{"repetition_penalty", q.repetition, &p.RepetitionPenalty, func(x float64) bool { return x > 0 && finite(x) }, "> 0.0"},
		{"frequency_penalty", q.frequency, &p.FrequencyPenalty, func(x float64) bool { return x >= -2 && x <= 2 }, ">= -2.0 and <= 2.0"},
	} {
		if f.given == nil {
			continue
		}
		if !f.ok(*f.given) {
			return p, false, badRequest(f.name, "`%s` must be %s", f.name, f.want)
		}
		*f.to = *f.given
	}
	if q.topK != nil {
		if *q.topK < 1 {
			return p, false, badRequest("top_k", "`top_k` must be strictly positive")
		}
		p.TopK = int(min(*q.topK, math.MaxInt32))
	}
	random = q.doSample || !q.parameters || p.Temperature != 1 || q.topK != nil || q.topP != nil || q.typicalP != nil
	p.Temperature = max(p.Temperature, minTemperature)
	if !random {
		p.Temperature = 0
	}
	return p, random, nil
}

// best returns how many sequences are generated.
func (q *tgiRequest) best(j *tgiJob) (int, error) {
	if q.bestOf == nil || *q.bestOf == 1 {
		return 1, nil
	}
	var why string
	switch {
	case *q.bestOf < 1 || *q.bestOf > tgiMaxBestOf:
		why = fmt.Sprintf("`best_of` is %d; it must be 1 to %d", *q.bestOf, tgiMaxBestOf)
	case !j.sampling:
		why = "`best_of` > 1 needs sampling: give `do_sample`, or a temperature, top_k, top_p or typical_p"
	case q.seed != nil:
		why = "`seed` must not be set when `best_of` > 1"
	case j.stream:
		why = "`best_of` > 1 is not supported when streaming tokens"
	default:
		return int(*q.bestOf), nil
	}
	return 0, badRequest("best_of", "%s", why)
}

// tgiPrompt encodes inputs.
func (s *Server) tgiPrompt(q *tgiRequest) ([]int32, error) {
	if q.inputs == "" {
		return nil, badRequest("inputs", "`inputs` cannot be empty")
	}
	ids := s.encodeText(q.inputs, true)
	if len(ids) == 0 {
		return nil, badRequest("inputs", "`inputs` has no tokens")
	}
	if q.truncate != nil {
		ids, _ = truncate(ids, int(*q.truncate))
	}
	return ids, s.inVocabulary("inputs", ids)
}
