//go:build linux

package launch

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// fakeDaemon answers as a Docker daemon, or Podman's service, on another machine
// does. Its one container is the fake itself, which answers /health too.
type fakeDaemon struct {
	podman bool
	pull   []string // lines that a pull answers with
	denied bool     // pulls are
	start  string   // error that starting a container is answered with

	mu       sync.Mutex
	port     string
	pulled   bool
	ended    chan struct{} // closed when the container is told to stop
	end      sync.Once
	networks map[string]bool
	created  container.CreateRequest
	calls    []string // without the API's version
}

// sum is a digest.
var sum = "sha256:" + strings.Repeat("12", 32)

// newFake returns a fake on an address that is not the loopback interface's
// first, so that a URL shows whose it is.
func newFake(t testing.TB, f *fakeDaemon) string {
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Skipf("SKIPPED, no second loopback address here: %v", err)
	}
	_, f.port, _ = net.SplitHostPort(listener.Addr().String())
	f.ended, f.networks = make(chan struct{}), map[string]bool{}
	server := httptest.NewUnstartedServer(f)
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	return "DOCKER_HOST=tcp://" + listener.Addr().String()
}

var apiVersion = regexp.MustCompile(`^/v1\.[0-9]+`)

func (f *fakeDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := apiVersion.ReplaceAllString(r.URL.Path, "")
	f.mu.Lock()
	f.calls = append(f.calls, r.Method+" "+path)
	f.mu.Unlock()
	w.Header().Set("Api-Version", "1.41")
	switch {
	case path == "/_ping", path == "/health":
	case path == "/version":
		f.version(w)
	case path == "/info":
		say(w, http.StatusOK, map[string]any{"OSType": "linux", "Runtimes": map[string]any{"runc": struct{}{}}})
	case strings.HasPrefix(path, "/networks"):
		f.network(w, r, path)
	case strings.HasPrefix(path, "/images"):
		f.image(w, path)
	case strings.HasPrefix(path, "/containers"):
		f.container(w, r, path)
	default:
		refuse(w, http.StatusNotFound, "no such route: "+path)
	}
}

func say(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(body)
}

func refuse(w http.ResponseWriter, status int, message string) {
	say(w, status, map[string]string{"message": message})
}

func (f *fakeDaemon) version(w http.ResponseWriter) {
	name, version := "Engine", "29.0.0"
	if f.podman {
		name, version = "Podman Engine", "5.4.1"
	}
	say(w, http.StatusOK, map[string]any{"Version": version, "ApiVersion": "1.41",
		"Components": []map[string]string{{"Name": name, "Version": version}, {"Name": "Conmon", "Version": "1"}}})
}

// bridge is the default network's name.
func (f *fakeDaemon) bridge() string {
	if f.podman {
		return "podman"
	}
	return "bridge"
}

func (f *fakeDaemon) network(w http.ResponseWriter, r *http.Request, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	name := strings.TrimPrefix(path, "/networks/")
	switch {
	case path == "/networks" && r.URL.Query().Get("filters") != "":
		say(w, http.StatusOK, []any{})
	case path == "/networks":
		say(w, http.StatusOK, []map[string]string{{"Name": f.bridge(), "Id": "b"}})
	case name == "create":
		var req struct{ Name string }
		json.NewDecoder(r.Body).Decode(&req)
		f.networks[req.Name] = true
		say(w, http.StatusCreated, map[string]string{"Id": req.Name})
	case name == f.bridge() || f.networks[name] && r.Method == http.MethodGet:
		say(w, http.StatusOK, map[string]string{"Name": name, "Id": name})
	case f.networks[name] && r.Method == http.MethodDelete:
		delete(f.networks, name)
		w.WriteHeader(http.StatusNoContent)
	default:
		refuse(w, http.StatusNotFound, "no such network: "+name)
	}
}

func (f *fakeDaemon) image(w http.ResponseWriter, path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case path == "/images/create" && f.denied:
		refuse(w, http.StatusNotFound, "pull access denied for secret/image, repository does not exist or may require 'docker login'")
	case path == "/images/create":
		f.pulled = true
		for _, line := range f.pull {
			fmt.Fprintln(w, line)
		}
	case strings.HasSuffix(path, "/json") && f.pulled:
		say(w, http.StatusOK, map[string]any{"Id": "sha256:" + strings.Repeat("99", 32),
			"RepoDigests": []string{"other.example/x@sha256:" + strings.Repeat("77", 32), "example.org/server@" + sum}})
	default:
		refuse(w, http.StatusNotFound, "No such image")
	}
}

func (f *fakeDaemon) container(w http.ResponseWriter, r *http.Request, path string) {
	id := strings.Repeat("c0", 32)
	switch {
	case path == "/containers/json":
		say(w, http.StatusOK, []any{})
	case path == "/containers/create":
		f.mu.Lock()
		json.NewDecoder(r.Body).Decode(&f.created)
		f.mu.Unlock()
		say(w, http.StatusCreated, map[string]any{"Id": id})
	case strings.HasSuffix(path, "/start") && f.start != "":
		refuse(w, http.StatusInternalServerError, f.start)
	case strings.HasSuffix(path, "/start"):
		w.WriteHeader(http.StatusNoContent)
	case strings.HasSuffix(path, "/json"):
		say(w, http.StatusOK, map[string]any{"Id": id, "State": map[string]any{"Pid": 1},
			"HostConfig": map[string]any{"NetworkMode": "x"}, "Config": map[string]any{},
			"NetworkSettings": map[string]any{"Ports": map[string]any{"8000/tcp": []map[string]string{{"HostIp": "127.0.0.2", "HostPort": f.port}}}}})
	case strings.HasSuffix(path, "/wait"):
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		select {
		case <-f.ended:
			json.NewEncoder(w).Encode(map[string]int{"StatusCode": 0})
		case <-r.Context().Done():
		}
	case strings.HasSuffix(path, "/logs"):
		line := "loading with hf_abcdefgh\n"
		w.Write(append([]byte{1, 0, 0, 0, 0, 0, 0, byte(len(line))}, line...))
	case strings.HasSuffix(path, "/stop"):
		f.end.Do(func() { close(f.ended) })
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodDelete:
		refuse(w, http.StatusNotFound, "No such container")
	default:
		refuse(w, http.StatusNotFound, "no such route: "+path)
	}
}

func TestFakeDaemon(t *testing.T) {
	pull := []string{`{"status":"Pulling from server","id":"1"}`, `{"status":"Pulling fs layer","progressDetail":{},"id":"aa"}`,
		`{"status":"Downloading","progressDetail":{"current":1048576,"total":4194304},"id":"aa"}`,
		`{"status":"Pull complete","progressDetail":{},"id":"aa"}`, `{"status":"Digest: ` + sum + `"}`}
	check := func(name, gpus string, f *fakeDaemon, check func(*testing.T, answer)) {
		t.Run(name, func(t *testing.T) {
			if f.pull == nil {
				f.pull = pull
			}
			a, suite := child(t, "example.org/server:1", newFake(t, f), childRole+"_GPUS="+gpus)
			suite.Wait()
			check(t, a)
			f.mu.Lock()
			defer f.mu.Unlock()
			assert.Empty(t, f.networks, "the network is removed")
		})
	}
	remote := &fakeDaemon{}
	check("remote", "0,2", remote, func(t *testing.T, a answer) {
		require.Empty(t, a.Error)
		assert.Equal(t, "http://127.0.0.2:"+remote.port, a.URL, "the daemon's machine")
		assert.Equal(t, sum, a.Digest, "of the registry that was named")
		assert.Contains(t, a.Progress, "pulling example.org/server:1: 1 of 1 layers, 4MiB of 4MiB\n")
		assert.Contains(t, a.Log, "loading with (secret)")
		assert.Contains(t, remote.created.Env, "TOKEN=hf_abcdefgh")
		assert.Equal(t, deviceRequests("0,2", false), remote.created.HostConfig.DeviceRequests)
	})
	podman := &fakeDaemon{podman: true}
	check("Podman", "all", podman, func(t *testing.T, a answer) {
		require.Empty(t, a.Error)
		assert.Equal(t, deviceRequests("all", true), podman.created.HostConfig.DeviceRequests)
		// testcontainers makes a network for good where it knows the default one by no name.
		made := 0
		for _, c := range podman.calls {
			if c == "POST /networks/create" {
				made++
			}
		}
		assert.Equal(t, 1, made, podman.calls)
	})
	check("pull denied", "", &fakeDaemon{denied: true}, func(t *testing.T, a answer) {
		assert.True(t, a.Pull, a.Error)
		for _, says := range []string{"example.org/server:1", "pull access denied", "docker login", "-launch process", "-host URL"} {
			assert.Contains(t, a.Error, says)
		}
	})
	check("pull breaks off", "", &fakeDaemon{pull: append(pull[:2:2], `{"errorDetail":{"message":"no space left on device"},"error":"no space left on device"}`)},
		func(t *testing.T, a answer) {
			assert.True(t, a.Pull, a.Error)
			assert.Contains(t, a.Error, "no space left on device")
		})
	check("no such GPU", "9", &fakeDaemon{start: "nvidia-container-cli: device error: 9: unknown device (TOKEN=hf_abcdefgh)"}, func(t *testing.T, a answer) {
		assert.True(t, a.GPU, a.Error)
		assert.Contains(t, a.Error, "unknown device (TOKEN=(secret))")
	})
}
