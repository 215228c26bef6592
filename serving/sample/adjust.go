package sample

import "math"

// changes reports whether a draw looks at other logits than the model's.
func (d *Draw) changes() bool {
	return d.Params.Allowed != nil || len(d.Params.Bias) > 0 || d.History != nil || len(d.Banned) > 0
}

// adjust returns a copy of logits, in the sampler's memory, with what allowed
// ids, biases, penalties and bans make of them. Those that cannot be drawn are
// −Inf, all others finite. It costs a copy and the distinct ids concerned.
func (s *Sampler) adjust(logits []float32, d *Draw) []float32 {
	masked := float32(math.Inf(-1))
	row := append(s.row[:0], logits...)
	s.row = row
	if d.Params.Allowed != nil {
		for i := range row {
			row[i] = masked
		}
		for _, id := range d.Params.Allowed {
			if id >= 0 && int(id) < len(row) {
				row[id] = logits[id]
			}
		}
	}
	for _, b := range d.Params.Bias {
		if b.ID >= 0 && int(b.ID) < len(row) {
			row[b.ID] = float32(clamp(float64(row[b.ID]) + float64(b.Value)))
		}
	}
	if d.History != nil {
		d.History.penalise(row, &d.Params)
	}
	for _, id := range d.Banned {
		if id >= 0 && int(id) < len(row) {
			row[id] = masked
		}
	}
	return row
}

// penalise applies the three penalties to the ids that the history has.
func (h *History) penalise(row []float32, p *Params) {
	repetition := 1.0
	if p.repeats() {
		repetition = p.RepetitionPenalty
	}
	for _, s := range h.seen {
		if s.id < 0 || int(s.id) >= len(row) {
			continue
		}
		x := float64(row[s.id])
		if x > 0 {
			x /= repetition
		} else {
			x *= repetition
		}
		if s.output > 0 {
			x -= p.FrequencyPenalty*float64(s.output) + p.PresencePenalty
		}
		row[s.id] = float32(clamp(x))
	}
}

// clamp keeps what a bias or penalty made of a finite logit finite in float32,
// so that it stays a candidate; a masked one stays masked.
func clamp(x float64) float64 {
	if math.IsInf(x, -1) {
		return x
	}
	return min(max(x, -math.MaxFloat32), math.MaxFloat32)
}
