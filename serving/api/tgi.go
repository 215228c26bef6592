// # TGI's routes
//
// The routes of Text Generation Inference (TGI), for its existing clients:
// POST /generate, /generate_stream and / (either, by the field stream), GET / and
// /info. Shapes and statuses are those of TGI 3.3.6's recorded exchanges, which
// TestReplayTGI sends.
//
// The body is {"inputs": text, "parameters": {…}}; for / also "stream". A text is
// drawn at random if do_sample is true, or temperature (not 1), top_k, top_p or
// typical_p is given, or there are no parameters at all, which is TGI's rule; else it is greedy.
//
//	parameter              values
//	best_of                done     1 or 2; needs sampling, no seed, no stream: the best mean logprob wins
//	decoder_input_details  done     bool: the prompt's tokens with their logprobs in details.prefill; not in streams
//	details                done     bool
//	do_sample              done     bool
//	frequency_penalty      done     -2 to 2, over the output (TGI: over prompt and output)
//	max_new_tokens         done     1 and more; left out: to the end of the context
//	repetition_penalty     done     above 0
//	return_full_text       done     bool; default false, on / true
//	seed                   done     64 bits, unsigned; left out: drawn, and told in details
//	stop                   done     at most 4 strings; the one found stays in the text
//	temperature            done     above 0
//	top_k                  done     1 and more
//	top_n_tokens           done     0 to 5: the likeliest tokens at each place
//	top_p                  done     above 0 and below 1
//	typical_p              done     above 0 and below 1
//	truncate               done     1 to context - 1: only so many of the prompt's last tokens
//	adapter_id             refused  the server has one model and no adapters
//	grammar                refused  structured output is out of the scope of this server
//	watermark              refused  texts are not marked; false is taken
//
// null is left out. Any other field is ignored and named in X-Ignored-Fields.
//
// Errors are {"error": text, "error_type": kind}:
//
//	400  validation   the body is not JSON
//	413  validation   the body is too large
//	422  validation   a field, or the prompt's length
//	424  generation   the engine failed
//	429  overloaded   too many requests wait
//	503  healthcheck  the server is shutting down
//
// Streams have an event a token, {"index", "token": {"id", "text", "logprob",
// "special"}, "generated_text", "details"}; the last one has the whole text, and
// details if they were asked for. A failure in the middle is an event with the
// error, and the last.
//
// Every exchange recorded with TGI on these routes is answered as TGI answers it,
// value by value, but for
//
//	what                                 why
//	status of a stream that is refused   TGI says 200 and sends the error as an event; its clients look at the
//	                                     status first, and who looks at nothing else took it for a success
//	body that is not JSON                the answer is JSON; TGI's plain text breaks its own Python client
//	error                                says what is allowed, in words of its own
//	details.prefill                      has the prompt's tokens; TGI's has been empty since it computes prompts in chunks
//	header x-compute-type                TGI is told it by its image
//	/info: max_concurrent_requests,      the engine's queue counts sequences; every request is checked
//	validation_workers                   in a goroutine of its own
//	/info: router, version, sha,         this server's own
//	max_client_batch_size
//	/chat_tokenize                       404; /tokenize takes messages
//
// and what no recording shows: log-probabilities are the model's own, before
// temperature and penalties; a stop string that ends within a token is found;
// temperatures under 0.01 are raised to it.
package api

import (
	"context"
	"net/http"
	"strconv"
	"time"
	"unicode/utf8"
)

// Limits of TGI's defaults.
const (
	tgiMaxBestOf = 2
	tgiMaxTopN   = 5
)

// tgiInfo answers GET /info.
func (s *Server) tgiInfo(w http.ResponseWriter, _ *http.Request) {
	s.writeJSON(w, http.StatusOK, marshal(struct {
		ModelID        string  `json:"model_id"`
		ModelSHA       *string `json:"model_sha"`
		PipelineTag    *string `json:"model_pipeline_tag"`
		MaxBestOf      int     `json:"max_best_of"`
		MaxStop        int     `json:"max_stop_sequences"`
		MaxInput       int     `json:"max_input_tokens"`
		MaxTotal       int     `json:"max_total_tokens"`
		MaxClientBatch int     `json:"max_client_batch_size"`
		Router         string  `json:"router"`
		Version        string  `json:"version"`
		SHA            *string `json:"sha"`
		DockerLabel    *string `json:"docker_label"`
	}{ModelID: s.cfg.Root, MaxBestOf: tgiMaxBestOf, MaxStop: maxStop, MaxInput: s.cfg.MaxModelLen - 1, MaxTotal: s.cfg.MaxModelLen,
		MaxClientBatch: s.cfg.MaxChoices, Router: "servebench", Version: s.cfg.Version}))
}

// tgiGenerate is the handler of a generating route of TGI.
func (s *Server) tgiGenerate(rt tgiRoute) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		arrived := time.Now()
		j, err := s.tgiAccept(rt, w, r)
		if err != nil {
			s.writeTGIError(w, err)
			return
		}
		validated := time.Now()
		// Ends the engine's requests however this function is left.
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		readers := make([]*tgiReader, len(j.seqs))
		for i := range j.seqs {
			tokens, err := s.cfg.Engine.Submit(ctx, j.seqs[i])
			if err != nil {
				s.writeTGIError(w, err)
				return
			}
			readers[i] = s.newTGIReader(j, i, tokens)
		}
		w.Header().Set("X-Compute-Characters", strconv.Itoa(utf8.RuneCountInString(j.inputs)))
		if j.stream {
			s.tgiStream(ctx, w, readers[0])
			return
		}
		s.tgiAnswer(ctx, w, readers, arrived, validated)
	}
}

// tgiAnswer sends a whole answer, with the best of the sequences first.
func (s *Server) tgiAnswer(ctx context.Context, w http.ResponseWriter, readers []*tgiReader, arrived, validated time.Time) {
	best := readers[0]
	for _, g := range readers { // what the others say waits in the engine
		for g.finish == "" {
			if _, err := g.next(ctx); err != nil {
				if ctx.Err() == nil { // else nobody is there to be told
					s.writeTGIError(w, err)
				}
				return
			}
		}
		if g.meanLogprob() > best.meanLogprob() {
			best = g
		}
	}
	tm, now := best.tokens.Timing(), time.Now()
	milliseconds := func(d time.Duration) string { return strconv.FormatInt(max(0, d.Milliseconds()), 10) }
	inference := tm.Last.Sub(tm.Scheduled)
	h := w.Header()
	h.Set("X-Compute-Time", strconv.FormatFloat(now.Sub(arrived).Seconds(), 'f', -1, 64))
	h.Set("X-Total-Time", milliseconds(now.Sub(arrived)))
	h.Set("X-Validation-Time", milliseconds(validated.Sub(arrived)))
	h.Set("X-Queue-Time", milliseconds(tm.Scheduled.Sub(tm.Submitted)))
	h.Set("X-Inference-Time", milliseconds(inference))
	h.Set("X-Time-Per-Token", milliseconds(inference/time.Duration(len(best.said))))
	h.Set("X-Prompt-Tokens", strconv.Itoa(len(best.req.Prompt)))
	h.Set("X-Generated-Tokens", strconv.Itoa(len(best.said)))
	body := marshal(best.answer(readers))
	if best.job.array {
		body = append(append([]byte{'['}, body...), ']')
	}
	s.writeJSON(w, http.StatusOK, body)
}

// tgiStream sends an event for every token.
func (s *Server) tgiStream(ctx context.Context, w http.ResponseWriter, g *tgiReader) {
	e := &events{w: w, rc: http.NewResponseController(w), limit: s.cfg.WriteLimit}
	err := e.open()
	for err == nil && g.finish == "" {
		tok, fault := g.next(ctx)
		switch {
		case fault == nil:
			err = e.data(marshal(g.event(tok)))
		case ctx.Err() == nil: // else nobody is there to be told
			s.cfg.Log.Error("stream failed", "id", g.req.ID, "error", fault)
			_, body := tgiError(fault)
			_ = e.data(body)
			return
		default:
			return
		}
	}
	if err != nil {
		s.cfg.Log.Info("a client did not take its stream", "id", g.req.ID, "tokens", len(g.said), "error", err)
	}
}

// data sends one event.
func (e *events) data(body []byte) error {
	e.buf = append(append(append(e.buf[:0], "data: "...), body...), "\n\n"...)
	return e.send()
}
