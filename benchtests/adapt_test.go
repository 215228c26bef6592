package benchtests

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/target"
	"servebench/results"
)

// silent are the capabilities that change nothing in what a case measures, and
// why the row need not tell them.
var silent = map[string]string{
	"MinTokens":    "no request asks for it",
	"Sync":         "a framework without it refuses the case",
	"TokenPrompts": "prompts are text; the contract's check of ids says what it could not do",
	"Chat":         "a framework without it refuses the case",
	"DummyWeights": "a framework without it refuses the model",
	"Dtypes":       "in the server's record, and a term of the contract",
	"Folders":      "a framework without it refuses the model",
	"GGUF":         "a framework without it refuses the model",
	"PrefixCache":  "results.Options.Cache says what is kept",
	"Litters":      "about files",
	"MultiGPU":     "a framework without it refuses the server",
	"ListsOthers":  "about names",
	"Remote":       "in the server's record",
}

// TestAdaptationsAreWhole: whoever adds a capability says what a row tells of it.
func TestAdaptationsAreWhole(t *testing.T) {
	fields := reflect.TypeFor[target.Capabilities]()
	var names []string
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		names = append(names, name)
		ruled := slices.ContainsFunc(adaptationRules, func(a adaptation) bool { return a.capability == name })
		assert.True(t, ruled != (silent[name] != ""), "%s: either a rule or a reason for none", name)
	}
	for _, rule := range adaptationRules {
		assert.Contains(t, names, rule.capability)
	}
	for name := range silent {
		assert.Contains(t, names, name)
	}
}

// TestAdaptations asks all that can be asked of every framework.
func TestAdaptations(t *testing.T) {
	eos := map[string]string{
		"custom": "ignored, by ignore_eos", "vllm": "ignored, by ignore_eos", "sglang": "ignored, by ignore_eos",
		"tgi": "ignored, by a copy", "transformers": "ignored, by a generation_config", "llamacpp": "banned",
		"ollama": "kept: the framework cannot", "openai": "kept: the framework cannot",
	}
	c := results.Case{Mode: results.ModeStream, Parallel: 4}
	for _, fw := range target.All() {
		caps := fw.CapabilitiesFor(target.Config{})
		all := strings.Join(adaptations(caps, c, demands{ignoreEOS: true, sampled: true, cold: true}), "\n")
		check := func(what string, want bool) {
			t.Helper()
			assert.Equal(t, want, strings.Contains(all, what), "%s: %q in\n%s", fw.Name, what, all)
		}
		require.Contains(t, eos, fw.Name, "a new framework")
		check("the end of sequence is "+eos[fw.Name], true)
		check("one request after the other", caps.Serial)
		check("passes over seeds", !caps.Seed && !caps.SeedStops)
		check("requests have no seed", caps.SeedStops)
		check("as the first one since its start asked", caps.FirstSampling)
		check("counts no tokens in streams", !caps.StreamUsage)
		check("a connection of its own", caps.NoKeepAlive)
		check("cannot be turned off", caps.CachesAlways)

		little := adaptations(caps, results.Case{Mode: results.ModeSync, Parallel: 1}, demands{})
		if !caps.NoKeepAlive {
			assert.Empty(t, little, "%s: nothing that it cannot do is asked", fw.Name)
		}
	}
	batching, err := target.ByName("transformers")
	require.NoError(t, err)
	assert.True(t, batching.Serial)
}
