package benchtests

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"servebench/benchtests/client"
	"servebench/benchtests/load"
	"servebench/datasets"
	"servebench/results"
)

const (
	// ceilingTime is how long the suite is measured for each mode and number of
	// requests in flight: hundreds of requests, and unnoticed at the start of a run.
	ceilingTime = 200 * time.Millisecond
	// nullEvents is the number of tokens in a null server's stream.
	nullEvents = 16
	// A case is invalid where the suite did more than this share of what it can
	// do at all, or its own lag is more than this share of what it measured.
	// Below them the suite takes too little of the time to change a verdict.
	ceilingShare = 0.5
	lagShare     = 0.05
)

// ceiling is what the suite itself can do at most.
type ceiling struct {
	reqPerS            float64
	chunksPerS         float64       // token-bearing chunks; in sync mode an answer is one
	dispatch50, disp99 time.Duration // sent − scheduled
}

// ceilingNote begins the note that gives a case's ceiling.
const ceilingNote = "the suite alone: "

func (c ceiling) String() string {
	return fmt.Sprintf(ceilingNote+"%.0f req/s, dispatch p50 %v, p99 %v",
		c.reqPerS, c.dispatch50.Round(time.Microsecond), c.disp99.Round(time.Microsecond))
}

// judge returns why the suite, not the server, may have decided a case; "" if
// it has not. chunks is how many the completed requests had: a stream longer
// than the null server's is more work for the suite.
func (c ceiling) judge(s *results.Summary, chunks int) string {
	if got, ok := s.Figure("req_per_s"); ok && got > ceilingShare*c.reqPerS {
		return fmt.Sprintf("INVALID, the client was the limit: %.0f req/s of at most %.0f", got, c.reqPerS)
	}
	if got := float64(chunks) / s.Wall.Seconds(); s.Wall > 0 && got > ceilingShare*c.chunksPerS {
		return fmt.Sprintf("INVALID, the client was the limit: %.0f chunks/s of at most %.0f", got, c.chunksPerS)
	}
	lag, ok := s.Figure("dispatch_p50_s")
	latency, ok2 := s.Figure("latency_mean_s")
	if ok && ok2 && lag > lagShare*latency {
		return fmt.Sprintf("INVALID, the client was the limit: median dispatch lag %.3g s of a mean latency of %.3g s", lag, latency)
	}
	return ""
}

// measureCeiling drives a null server in this process, which answers at once,
// in a closed loop. The server takes its share of the same processors, so the
// true ceiling is higher.
func measureCeiling(ctx context.Context, mode datasets.Mode, parallel int) (ceiling, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ceiling{}, err
	}
	srv := &http.Server{Handler: http.HandlerFunc(null)}
	go srv.Serve(l)
	defer srv.Close()
	c, err := client.New(client.Options{BaseURL: "http://" + l.Addr().String(), Connections: parallel, Epoch: time.Now()})
	if err != nil {
		return ceiling{}, err
	}
	defer c.Close()

	var mu sync.Mutex
	var lags []time.Duration
	var last client.Exchange
	call := client.Call{Route: "/" + string(mode), Body: []byte(`{}`), Stream: mode == datasets.Stream}
	begin := c.Now()
	n, err := load.Closed{Workers: parallel}.Run(ctx, c.Now,
		func() bool { return c.Now()-begin < ceilingTime },
		func(ctx context.Context, d load.Dispatch) {
			x := c.Do(ctx, call)
			mu.Lock()
			defer mu.Unlock()
			lags = append(lags, x.Sent-d.Scheduled)
			last = *x
		})
	took := c.Now() - begin
	var r results.Request
	if last.Decode(&r); err == nil && r.Error != "" {
		err = fmt.Errorf("%s: %s", r.Error, r.Detail)
	}
	if err != nil {
		return ceiling{}, fmt.Errorf("the suite cannot measure itself: %w", err)
	}
	slices.Sort(lags)
	reqPerS := float64(n) / took.Seconds()
	return ceiling{
		reqPerS: reqPerS, chunksPerS: reqPerS * float64(len(r.Chunks)),
		dispatch50: lags[len(lags)/2], disp99: lags[len(lags)*99/100],
	}, nil
}

// null answers at once.
func null(w http.ResponseWriter, r *http.Request) {
	io.Copy(io.Discard, r.Body)
	if r.URL.Path != "/"+string(datasets.Stream) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"choices":[{"index":0,"text":"a","finish_reason":"length"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for range nullEvents {
		io.WriteString(w, `data: {"choices":[{"index":0,"text":"a","finish_reason":null}]}`+"\n\n")
		w.(http.Flusher).Flush()
	}
	io.WriteString(w, "data: [DONE]\n\n")
}
