package benchtests

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// replayEnv makes the test binary a server that answers as a peer once did. Its
// value is the folder of the recordings.
const replayEnv = "SERVEBENCH_REPLAY"

// replayed names the recordings that a replayed peer answers with, by method,
// route and whether a stream is asked for.
var replayed = map[string]string{
	"POST /v1/chat/completions sync":   "chat_sync",
	"POST /v1/chat/completions stream": "chat_stream",
	"POST /v1/completions sync":        "completions_sync",
	"POST /v1/completions stream":      "completions_stream",
	"GET /health sync":                 "health",
	"GET /v1/models sync":              "models",
	"GET /version sync":                "version",
	"GET /info sync":                   "info",
	"GET /props sync":                  "props",
	"GET /metrics sync":                "metrics",
	"POST /tokenize sync":              "tokenize",
}

// replayMain is the replaying server, where the process was started as it.
func replayMain() {
	dir := os.Getenv(replayEnv)
	if dir == "" {
		return
	}
	port := os.Args[slices.Index(os.Args, "--port")+1]
	panic(http.ListenAndServe(net.JoinHostPort("0.0.0.0", port), http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Stream bool }
		body, err := io.ReadAll(r.Body)
		if err == nil && len(body) > 0 {
			err = json.Unmarshal(body, &asked)
		}
		how := "sync"
		if asked.Stream {
			how = "stream"
		}
		answer, missing := recorded(dir, replayed[r.Method+" "+r.URL.Path+" "+how])
		if err != nil || missing != nil {
			http.Error(w, fmt.Sprint(err, missing), http.StatusNotFound)
			return
		}
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		defer conn.Close()
		for _, line := range bytes.SplitAfter(answer, []byte("\n\n")) {
			if _, err := conn.Write(line); err != nil {
				return
			}
			time.Sleep(100 * time.Microsecond) // so that events do not arrive as one
		}
	})))
}

// recorded is a recorded response, byte for byte as it was on the wire but for a
// header that says that the connection ends with it.
func recorded(dir, name string) ([]byte, error) {
	data, err := os.ReadFile(filepath.Join(dir, "wire", name+".http")) // of chunked answers
	if err != nil {
		data, err = os.ReadFile(filepath.Join(dir, name+".http"))
	}
	if err != nil {
		return nil, err
	}
	_, answer, _ := bytes.Cut(data, []byte("======== RESPONSE ========"))
	status, rest, _ := bytes.Cut(bytes.TrimLeft(answer, "\r\n"), []byte("\r\n"))
	return slices.Concat(status, []byte("\r\nConnection: close\r\n"), rest), nil
}
