//go:build linux

package benchtests

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/launch"
)

// fakeBinary builds the test binary that plays the server so that it runs in an
// empty image, once.
var fakeBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "servebench-fake")
	if err != nil {
		return "", err
	}
	build := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, "serve"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, text)
	}
	return dir, nil
})

// fakeImage makes an image of the fake server, which is removed with the test.
func fakeImage(t *testing.T, b behaviour) string {
	t.Helper()
	if os.Getenv("TESTCONTAINERS_RYUK_DISABLED") == "" {
		t.Setenv("TESTCONTAINERS_RYUK_DISABLED", "true") // its image would have to be pulled
	}
	if err := launch.DockerAvailable(t.Context()); err != nil {
		t.Skipf("SKIPPED, containers are not tested here: %v", err)
	}
	if _, err := exec.LookPath("docker"); err != nil {
		t.Skipf("SKIPPED, the fake server's image cannot be made without Docker's program: %v", err)
	}
	dir, err := fakeBinary()
	require.NoError(t, err)
	image := "servebench-fake:" + string(b)
	build := exec.Command("docker", "build", "-q", "-t", image, "-f", "-", dir)
	build.Stdin = strings.NewReader(fmt.Sprintf("FROM scratch\nCOPY serve /serve\nENV %s=%s\nENTRYPOINT [\"/serve\"]\n", fakeServeEnv, b))
	text, err := build.CombinedOutput()
	require.NoError(t, err, "%s", text)
	t.Cleanup(func() { exec.Command("docker", "image", "rm", "-f", image).Run() })
	return image
}

// TestFaults runs the suite on servers that fail in every way, started in every way.
func TestFaults(t *testing.T) {
	faults := []struct {
		how    behaviour
		flags  []string
		status int
		rows   map[string]string // task/mode/repeat: failed/requests
		says   string
	}{
		{good, nil, 0, map[string]string{"chat/sync/0": "0/6", "chat/stream/0": "0/6"}, "PASS"},
		{noStart, nil, 1, nil, "fatal: no weights"},
		{neverReady, []string{"-start-timeout", "2s"}, 1, nil, "503"},
		{dies, []string{"-task", "chat,qa", "-mode", "sync"}, 1, map[string]string{"chat/sync/0": "0/6"}, "the server died"},
		{status500, nil, 1, map[string]string{"chat/sync/0": "6/6", "chat/stream/0": "6/6"}, "status 500: out of memory"},
		{stalls, []string{"-request-timeout", "100ms", "-mode", "stream"}, 1, map[string]string{"chat/stream/0": "6/6"}, "no complete answer in time"},
		{broken, nil, 1, map[string]string{"chat/sync/0": "6/6", "chat/stream/0": "6/6"}, "stream-broken"},
		{garbage, nil, 1, map[string]string{"chat/sync/0": "6/6", "chat/stream/0": "6/6"}, "bad-json"},
	}
	for _, by := range []string{launchProcess, launchContainer} {
		for _, f := range faults {
			t.Run(by+"/"+string(f.how), func(t *testing.T) {
				flags := []string{"-launch", by}
				if by == launchContainer {
					flags = append(flags, "-image", fakeImage(t, f.how))
				}
				s := newBench(t, f.how, append([]string{"-task", "chat"}, flags...)...)
				require.Equal(t, f.status, s.run(f.flags...), "%s%s", &s.out, &s.err)
				rows := s.rows()
				for row, want := range f.rows {
					assert.Equal(t, want, rows[row], "%s\n%s", row, &s.out)
				}
				if f.rows == nil {
					assert.Empty(t, rows)
				}
				assert.Contains(t, s.out.String(), f.says)
				assert.Contains(t, s.err.String(), "# custom of gpt2 as "+by+": ")
				environment, err := os.ReadFile(filepath.Join(s.results, "latest", "environment.json"))
				require.NoError(t, err)
				if f.rows != nil {
					assert.Contains(t, string(environment), fmt.Sprintf(`"launch": %q`, by))
					assert.Equal(t, by == launchContainer, strings.Contains(string(environment), `"image_digest": "sha256:`))
				}
			})
		}
	}
	if text, err := exec.Command("docker", "ps", "-aq", "--filter", "ancestor=servebench-fake").Output(); err == nil {
		assert.Empty(t, string(text), "no container is left")
	}
}
