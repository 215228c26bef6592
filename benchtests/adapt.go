package benchtests

import (
	"cmp"

	"servebench/benchtests/target"
	"servebench/datasets"
	"servebench/results"
)

// demands are what a case asks of a framework, beside the case itself.
type demands struct {
	ignoreEOS bool // answers are to run to max_tokens
	sampled   bool // a temperature above 0
	cold      bool // nothing is to be known of prompts from before
}

// demands returns what a pass asks.
func (p *pass) demands() demands {
	o := p.g.s.opt
	d := demands{ignoreEOS: o.ignoresEOS(datasets.Task(p.c.Task)), cold: !o.prefixCaching}
	for _, prompt := range p.set.prompts {
		d.sampled = d.sampled || prompt.Temperature > 0
	}
	return d
}

// adaptation is a rule by which a case is changed for a framework that cannot
// do what it asks, or does it in a way of its own.
type adaptation struct {
	capability string // field of target.Capabilities that it is about
	applies    func(target.Capabilities, results.Case, demands) bool
	note       func(target.Capabilities) string // what the row says
}

// text is a note that is the same for all frameworks.
func text(s string) func(target.Capabilities) string {
	return func(target.Capabilities) string { return s }
}

// adaptationRules are all rules; each that applies is told in the row.
var adaptationRules = []adaptation{
	{"IgnoreEOS",
		func(_ target.Capabilities, _ results.Case, d demands) bool { return d.ignoreEOS },
		func(t target.Capabilities) string {
			return "the end of sequence is " + cmp.Or(t.IgnoreEOS, "kept: the framework cannot ignore it")
		}},
	{"Serial",
		func(t target.Capabilities, c results.Case, _ demands) bool { return t.Serial && c.Parallel > 1 },
		text("the framework computes one request after the other")},
	{"Seed",
		func(t target.Capabilities, _ results.Case, d demands) bool {
			return !t.Seed && !t.SeedStops && d.sampled
		},
		text("the framework passes over seeds, or keeps them only for a request that is alone: sampled answers are other ones every time")},
	{"SeedStops",
		func(t target.Capabilities, _ results.Case, d demands) bool { return t.SeedStops && d.sampled },
		text("requests have no seed, of which this build of the framework may die: sampled answers are other ones every time")},
	{"FirstSampling",
		func(t target.Capabilities, _ results.Case, d demands) bool { return t.FirstSampling && d.sampled },
		text("the framework samples every request as the first one since its start asked")},
	{"StreamUsage",
		func(t target.Capabilities, c results.Case, _ demands) bool {
			return !t.StreamUsage && c.Mode == results.ModeStream
		},
		text("the framework counts no tokens in streams: the suite's own counts stand in")},
	{"NoKeepAlive",
		func(t target.Capabilities, _ results.Case, _ demands) bool { return t.NoKeepAlive },
		text("every request has a connection of its own: the framework closes those that it says it keeps")},
	{"CachesAlways",
		func(t target.Capabilities, _ results.Case, d demands) bool { return t.CachesAlways && d.cold },
		text("the framework's prefix cache cannot be turned off")},
}

// adaptations returns what was changed in a case for a framework, a sentence each.
func adaptations(t target.Capabilities, c results.Case, d demands) []string {
	var notes []string
	for _, rule := range adaptationRules {
		if rule.applies(t, c, d) {
			notes = append(notes, rule.note(t))
		}
	}
	return notes
}
