package results

// outputTokens returns how many tokens the answer has, from the best source
// at hand: the server's usage, the recount of its text, the counts that came
// with the chunks. 0 and false: none of them knows.
func (r *Request) outputTokens() (n int, ok bool) {
	if r.OutputTokens > 0 {
		return r.OutputTokens, true
	}
	if r.RecountedTokens > 0 {
		return r.RecountedTokens, true
	}
	return r.chunkTokens()
}

// chunkTokens adds up what the chunks say; false where one says nothing.
func (r *Request) chunkTokens() (n int, ok bool) {
	for _, c := range r.Chunks {
		if c.Tokens <= 0 {
			return 0, false
		}
		n += c.Tokens
	}
	return n, n > 0
}

// promptTokens returns the server's count of the prompt, else the prepared file's.
func (r *Request) promptTokens() (n int, ok bool) {
	if r.PromptTokens > 0 {
		return r.PromptTokens, true
	}
	return r.PreparedTokens, r.PreparedTokens > 0
}

// tokens adds up the completed requests' tokens and counts where two sources
// disagree. One request of unknown length makes the sum unknown: a sum of the
// others would be a throughput that is too low.
func (s *Summary) tokens(done []*Request) {
	prompts, outputs := true, true
	var lengths sample
	for _, r := range done {
		in, ok := r.promptTokens()
		s.PromptTokens += in
		prompts = prompts && ok
		if r.PromptTokens > 0 && r.PreparedTokens > 0 && r.PromptTokens != r.PreparedTokens {
			s.PromptMismatch++
		}

		out, ok := r.outputTokens()
		s.OutputTokens += out
		outputs = outputs && ok
		if ok && (s.OutputMin == 0 || out < s.OutputMin) {
			s.OutputMin = out
		}
		s.OutputMax = max(s.OutputMax, out)
		lengths.add(float64(out))
		if r.MaxTokens > 0 && out >= r.MaxTokens {
			s.AtMaxTokens++
		}
		if r.OutputTokens == 0 {
			s.UsageMissing++
			continue
		}
		if r.RecountedTokens >= 0 && r.RecountedTokens != r.OutputTokens {
			s.UsageMismatch++
		}
		if n, ok := r.chunkTokens(); ok && n != r.OutputTokens {
			s.ChunkMismatch++
		}
	}
	if !prompts {
		s.PromptTokens = 0
	}
	if !outputs {
		s.OutputTokens, s.OutputMin, s.OutputMax, s.AtMaxTokens = 0, 0, 0, 0
		return
	}
	s.OutputMedian, _ = lengths.quantile(0.5)
	s.lengths = lengths.xs
}
