package benchtests

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"servebench/benchtests/contract"
	"servebench/datasets/tokenizertest"
)

// behaviour is what the fake server does wrong.
type behaviour string

const (
	good        behaviour = "good"
	noUsage     behaviour = "no-usage"     // counts nothing
	lyingUsage  behaviour = "lying-usage"  // counts ten times as much
	absurdUsage behaviour = "absurd-usage" // counts what no integer holds
	fourAtOnce  behaviour = "four-at-once" // four tokens a chunk
	broken      behaviour = "broken"       // ends its answers in the middle
	garbage     behaviour = "garbage"      // events that are not JSON
	status500   behaviour = "500"
	stalls      behaviour = "stalls"       // never ends an answer
	stallsLater behaviour = "stalls-later" // never ends an answer after three passes of a case
	halfFail    behaviour = "half"         // fails every other request
	dies        behaviour = "dies"         // the process ends in the second case of six requests
	deaf        behaviour = "deaf"         // the process goes on there, and takes no more connections
	diesProbed  behaviour = "dies-probed"  // the process ends in the contract's probe
	noStart     behaviour = "no-start"     // the process ends at once
	neverReady  behaviour = "never-ready"  // answers 503 for good
)

// fakeTokens is the length of the fake server's answers: words of at most six letters.
const fakeTokens = 12

// fakeServe is a server of OpenAI's API that generates nothing.
type fakeServe struct {
	how      atomic.Value // behaviour
	requests atomic.Int64
	deafen   func() // ends listening, where the server is a process
}

func newFake(b behaviour) *fakeServe {
	f := &fakeServe{}
	f.how.Store(b)
	return f
}

func (f *fakeServe) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/health":
		if f.how.Load() == neverReady {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		return
	case "/v1/models":
		fmt.Fprint(w, `{"data":[{"id":"gpt2"}]}`)
		return
	}
	var req struct {
		Model     string `json:"model"`
		Prompt    string `json:"prompt"`
		MaxTokens int    `json:"max_tokens"`
		Stream    bool   `json:"stream"`
	}
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.Model != "gpt2" {
		http.Error(w, `{"error":{"message":"no such model"}}`, http.StatusNotFound)
		return
	}
	if r.URL.Path == "/tokenize" {
		_ = json.NewEncoder(w).Encode(map[string]any{"tokens": tokenizertest.Encode(req.Prompt, true)})
		return
	}
	n, how := f.requests.Add(1), f.how.Load().(behaviour)
	switch {
	case how == status500, how == halfFail && n%2 == 0:
		http.Error(w, `{"error":{"message":"out of memory"}}`, http.StatusInternalServerError)
	case how == diesProbed && req.MaxTokens == contract.ProbeTokens:
		fmt.Fprintln(os.Stderr, "fatal: bad prompt")
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case how == dies && n == int64(minWarm+contract.ProbeSize+6+1+3):
		fmt.Fprintln(os.Stderr, "fatal: out of memory")
		if os.Getpid() == 1 { // a container's first process, which no signal of its own kills
			os.Exit(137)
		}
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case how == deaf && n >= int64(minWarm+contract.ProbeSize+6+1+3):
		f.deafen()
		http.Error(w, `{"error":{"message":"the engine is dead"}}`, http.StatusInternalServerError)
	case how == stalls, how == stallsLater && n > int64(minWarm+contract.ProbeSize+6+1+6+1+6+1+2):
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, event("stuck", ""))
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	case req.Stream:
		how.stream(w)
	default:
		how.whole(w)
	}
}

func (b behaviour) usage() string {
	switch b {
	case noUsage:
		return ""
	case lyingUsage:
		return fmt.Sprintf(`,"usage":{"prompt_tokens":7,"completion_tokens":%d}`, 10*fakeTokens)
	case absurdUsage:
		return `,"usage":{"prompt_tokens":7,"completion_tokens":99999999999999}`
	default:
		return fmt.Sprintf(`,"usage":{"prompt_tokens":7,"completion_tokens":%d}`, fakeTokens)
	}
}

func (b behaviour) whole(w http.ResponseWriter) {
	text := fmt.Sprintf(`{"choices":[{"index":0,"text":%q,"finish_reason":"length"}]%s}`, strings.Repeat(" word", fakeTokens), b.usage())
	w.Header().Set("Content-Type", "application/json")
	switch b {
	case broken:
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		fmt.Fprint(w, text[:20])
	case garbage:
		fmt.Fprint(w, "<html>")
	default:
		fmt.Fprint(w, text)
	}
}

func event(text, more string) string {
	return fmt.Sprintf("data: {\"choices\":[{\"index\":0,\"text\":%q,\"finish_reason\":null}]%s}\n\n", text, more)
}

func (b behaviour) stream(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/event-stream")
	each := 1
	if b == fourAtOnce {
		each = 4
	}
	for i := 0; i < fakeTokens; i += each {
		switch {
		case b == broken && i == 4:
			panic(http.ErrAbortHandler)
		case b == garbage:
			fmt.Fprint(w, "data: <html>\n\n")
		default:
			fmt.Fprint(w, event(strings.Repeat(" word", each), ""))
		}
		w.(http.Flusher).Flush()
		time.Sleep(100 * time.Microsecond)
	}
	fmt.Fprintf(w, "data: {\"choices\":[{\"index\":0,\"text\":\"\",\"finish_reason\":\"length\"}]%s}\n\n", b.usage())
	fmt.Fprint(w, "data: [DONE]\n\n")
}

// fakeServeEnv makes the test binary the fake server's program.
const fakeServeEnv = "SERVEBENCH_FAKE_SERVE"

// fakeServeMain is the program, where the process was started as it.
func fakeServeMain() {
	b := behaviour(os.Getenv(fakeServeEnv))
	if b == "" {
		return
	}
	host, port := "127.0.0.1", ""
	for i, a := range os.Args {
		switch a {
		case "--host":
			host = os.Args[i+1]
		case "--version":
			fmt.Println("fake 1.0")
			os.Exit(0)
		case "--port":
			port = os.Args[i+1]
		}
	}
	if b == noStart {
		fmt.Fprintln(os.Stderr, "fatal: no weights")
		os.Exit(3)
	}
	if pid := os.Getpid(); pid > 1 { // a container's number is not the machine's
		fmt.Println("process", pid)
	}
	fmt.Println("arguments", strings.Join(os.Args[1:], " "))
	listener, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		panic(err)
	}
	fake := newFake(b)
	server := &http.Server{Handler: fake}
	fake.deafen = func() {
		listener.Close()
		server.SetKeepAlivesEnabled(false)
	}
	err = server.Serve(listener)
	if b == deaf {
		select {}
	}
	panic(err)
}
