package sample

import (
	"errors"
	"fmt"
	"math"
)

// Params are a request's sampling parameters, in OpenAI's and vLLM's meaning.
// A zero field but TopP changes nothing.
type Params struct {
	Temperature float64 // 0 is greedy
	TopP        float64 // (0, 1]; 1 keeps all
	TopK        int     // 0 or less keeps all
	MinP        float64 // [0, 1]: ids less likely than MinP times the likeliest leave; 0 keeps all
	TypicalP    float64 // [0, 1]: share of the ids whose surprise is nearest the expected one that stays; 0 and 1 keep all (TGI's typical_p)
	Seed        uint64  // tokens depend on it, the prompt and the parameters alone

	RepetitionPenalty float64 // over 0: divides positive and multiplies other logits of ids in prompt and output; 0 and 1 change nothing
	PresencePenalty   float64 // [-2, 2]: subtracted from the logits of ids in the output
	FrequencyPenalty  float64 // [-2, 2]: subtracted as often as the id is in the output
	Bias              []Bias  // added to logits; ids are distinct
	Allowed           []int32 // no other id is drawn; nil allows all (vLLM's allowed_token_ids)
}

// Bias is one entry of OpenAI's logit_bias.
type Bias struct {
	ID    int32
	Value float32 // [-100, 100]
}

// greedyBelow is the temperature under which sampling is greedy, as vLLM's
// _SAMPLING_EPS: a softmax this sharp has one outcome, and dividing by less
// overflows.
const greedyBelow = 1e-5

// ErrParams is returned by Validate, wrapped with the parameter at fault.
var ErrParams = errors.New("sampling parameter out of range")

// Validate returns ErrParams for a parameter that Sample has no meaning for.
// Ids are not looked at: Sample passes over those that a row does not have.
func (p Params) Validate() error {
	within := func(x, low, high float64) bool { return x >= low && x <= high } // NaN is not
	switch {
	case !within(p.Temperature, 0, math.MaxFloat64):
		return fmt.Errorf("%w: temperature is %v, must be 0 or more", ErrParams, p.Temperature)
	case !(p.TopP > 0 && p.TopP <= 1):
		return fmt.Errorf("%w: top_p is %v, must be over 0 and at most 1", ErrParams, p.TopP)
	case !within(p.MinP, 0, 1):
		return fmt.Errorf("%w: min_p is %v, must be 0 to 1", ErrParams, p.MinP)
	case !within(p.TypicalP, 0, 1):
		return fmt.Errorf("%w: typical_p is %v, must be 0 to 1", ErrParams, p.TypicalP)
	case !within(p.RepetitionPenalty, 0, math.MaxFloat64):
		return fmt.Errorf("%w: repetition_penalty is %v, must be over 0", ErrParams, p.RepetitionPenalty)
	case !within(p.PresencePenalty, -2, 2):
		return fmt.Errorf("%w: presence_penalty is %v, must be -2 to 2", ErrParams, p.PresencePenalty)
	case !within(p.FrequencyPenalty, -2, 2):
		return fmt.Errorf("%w: frequency_penalty is %v, must be -2 to 2", ErrParams, p.FrequencyPenalty)
	case p.Allowed != nil && len(p.Allowed) == 0:
		return fmt.Errorf("%w: allowed_token_ids is empty, must name at least one id", ErrParams)
	}
	for _, b := range p.Bias {
		if !within(float64(b.Value), -100, 100) {
			return fmt.Errorf("%w: logit_bias of token %d is %v, must be -100 to 100", ErrParams, b.ID, b.Value)
		}
	}
	return nil
}

// Greedy reports whether the largest logit is taken and nothing drawn.
func (p Params) Greedy() bool { return p.Temperature < greedyBelow }

// Plain reports whether a token depends on its row of logits, Temperature, TopP,
// TopK, MinP and the random number alone, so that a device can draw it that has
// the logits and no more (kernels.Draw).
func (p Params) Plain() bool {
	return p.Allowed == nil && len(p.Bias) == 0 && !p.penalises() && (p.TypicalP == 0 || p.TypicalP == 1)
}

// repeats reports whether ids of prompt and output are penalised.
func (p Params) repeats() bool { return p.RepetitionPenalty != 0 && p.RepetitionPenalty != 1 }

// penalises reports whether logits depend on the ids before.
func (p Params) penalises() bool {
	return p.repeats() || p.PresencePenalty != 0 || p.FrequencyPenalty != 0
}
