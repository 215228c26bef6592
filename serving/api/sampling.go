package api

import (
	"cmp"
	"slices"
	"strconv"

	"servebench/serving/sample"
)

// sampling applies defaults and ranges to the sampling parameters. The seed is
// left to sequences, where every choice gets its own.
func (s *Server) sampling(r *request) (sample.Params, error) {
	d := s.cfg.Defaults
	p := sample.Params{Temperature: d.Temperature, TopP: d.TopP, TopK: d.TopK, MinP: d.MinP, RepetitionPenalty: d.RepetitionPenalty}
	for _, f := range []struct {
		name  string
		given *float64
		to    *float64
		ok    func(float64) bool
	}{
		{"temperature", r.temperature, &p.Temperature, func(x float64) bool { return x >= 0 && finite(x) }},
		{"top_p", r.topP, &p.TopP, func(x float64) bool { return x > 0 && x <= 1 }},
		{"min_p", r.minP, &p.MinP, func(x float64) bool { return x >= 0 && x <= 1 }},
		{"presence_penalty", r.presencePenalty, &p.PresencePenalty, func(x float64) bool { return x >= -2 && x <= 2 }},
		{"frequency_penalty", r.frequencyPenalty, &p.FrequencyPenalty, func(x float64) bool { return x >= -2 && x <= 2 }},
		{"repetition_penalty", r.repetitionPenalty, &p.RepetitionPenalty, func(x float64) bool { return x > 0 && finite(x) }},
	} {
		if f.given == nil {
			continue // Config's defaults were checked where they were read
		}
		if !f.ok(*f.given) {
			return p, outOfRange(f.name, *f.given)
		}
		*f.to = *f.given
	}
	if p.Temperature > 0 {
		p.Temperature = max(p.Temperature, minTemperature)
	}
	if r.topK != nil {
		if *r.topK < -1 {
			return p, outOfRange("top_k", *r.topK)
		}
		p.TopK = int(min(max(*r.topK, 0), int64(s.cfg.Vocab)))
	}
	if r.allowedTokenIDs != nil && len(r.allowedTokenIDs) == 0 {
		return p, badRequest("allowed_token_ids", "allowed_token_ids is empty: nothing could be generated; leave it out to allow all")
	}
	if err := s.inVocabulary("allowed_token_ids", r.allowedTokenIDs); err != nil {
		return p, err
	}
	slices.Sort(r.allowedTokenIDs)
	p.Allowed = slices.Compact(r.allowedTokenIDs) // at most the vocabulary, whatever a body repeats
	var err error
	p.Bias, err = s.bias(r.logitBias)
	return p, err
}

// inVocabulary refuses a list with an id that the model does not have.
func (s *Server) inVocabulary(name string, ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= s.cfg.Vocab {
			return badRequest(name, "%s[%d] is token id %d; the model's ids are 0 to %d", name, i, id, s.cfg.Vocab-1)
		}
	}
	return nil
}

// bias reads a logit_bias, in the order of ids.
func (s *Server) bias(given map[string]*float64) ([]sample.Bias, error) {
	const name = "logit_bias"
	var list []sample.Bias
	for key, value := range given {
		quoted := quote([]byte(strconv.Quote(key)))
		id, err := strconv.ParseInt(key, 10, 32)
		switch {
		case err != nil || strconv.FormatInt(id, 10) != key: // one spelling an id, so ids are distinct
			return nil, badRequest(name, "logit_bias has the key %s, which is no token id", quoted)
		case id < 0 || id >= int64(s.cfg.Vocab):
			return nil, badRequest(name, "logit_bias has the token id %d; the model's ids are 0 to %d", id, s.cfg.Vocab-1)
		case value == nil || *value < -100 || *value > 100:
			return nil, badRequest(name, "the logit_bias of %s must be a number from -100 to 100", quoted)
		}
		list = append(list, sample.Bias{ID: int32(id), Value: float32(*value)})
	}
	slices.SortFunc(list, func(a, b sample.Bias) int { return cmp.Compare(a.ID, b.ID) })
	return list, nil
}
