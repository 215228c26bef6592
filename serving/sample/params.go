package sample

import (
	"errors"
	"fmt"
	"math"
)

// Params are a request's sampling parameters, in OpenAI's and vLLM's meaning.
type Params struct {
	Temperature float64 // 0 is greedy
	TopP        float64 // (0, 1]; 1 keeps all
	TopK        int     // 0 or less keeps all
	MinP        float64 // [0, 1]: ids less likely than MinP times the likeliest leave; 0 keeps all
	Seed        uint64  // tokens depend on it, the prompt and the parameters alone

	RepetitionPenalty float64 // over 0: divides positive and multiplies negative logits of ids in prompt and output; 0 and 1 change nothing
	PresencePenalty   float64 // [-2, 2]: subtracted from the logits of ids in the output
	FrequencyPenalty  float64 // [-2, 2]: subtracted as often as the id is in the output
	Bias              []Bias  // added to logits; ids are distinct
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
func (p Params) Validate() error {
	switch {
	case math.IsNaN(p.Temperature) || math.IsInf(p.Temperature, 0) || p.Temperature < 0:
		return fmt.Errorf("%w: temperature is %v, must be 0 or more", ErrParams, p.Temperature)
	case !(p.TopP > 0 && p.TopP <= 1): // NaN too
		return fmt.Errorf("%w: top_p is %v, must be over 0 and at most 1", ErrParams, p.TopP)
	}
	return nil
}

// Greedy reports whether the largest logit is taken and nothing drawn.
func (p Params) Greedy() bool { return p.Temperature < greedyBelow }
