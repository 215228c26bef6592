package benchtests

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/launch"
	"servebench/benchtests/target"
)

func docker(context.Context) error { return nil }

func noDocker(context.Context) error {
	return errors.New("no Docker daemon can be reached: connection refused\nstart it")
}

// pythonWith makes a Python environment with a program.
func pythonWith(t *testing.T, program string) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "bin"), 0o755))
	for _, name := range []string{"python3", program} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "bin", name), nil, 0o755))
	}
	return dir
}

func TestChoose(t *testing.T) {
	for _, fw := range target.All() {
		if fw.Variable != "" {
			t.Setenv(fw.Variable, "")
		}
	}
	venv := pythonWith(t, "vllm")
	check := func(docker func(context.Context) error, framework, wantBy, wantWhy string, args ...string) {
		t.Helper()
		o, err := parse(append([]string{"-framework", framework}, args...)...)
		require.NoError(t, err, args)
		fw, err := target.ByName(framework)
		require.NoError(t, err)
		got, err := o.choose(t.Context(), fw, docker)
		require.NoError(t, err, args)
		assert.Equal(t, wantBy, got.by, "%s %s", framework, args)
		assert.Contains(t, got.why, wantWhy, "%s %s", framework, args)
	}
	unasked := func(context.Context) error { t.Error("Docker was asked"); return nil }
	cpu := []string{"-device", deviceCPU}
	check(unasked, "custom", launchProcess, "as always on cpu", cpu...)
	check(unasked, "vllm", launchProcess, "-launch process", append(cpu, "-launch", "process")...)
	check(unasked, "vllm", launchContainer, "-launch container", append(cpu, "-launch", "container")...)
	check(unasked, "vllm", launchContainer, "-image", append(cpu, "-image", "vllm:mine")...)
	check(unasked, "vllm", launchEndpoint, "-host", append(cpu, "-host", "http://localhost:1", "-model", "gpt2")...)

	auto := append(cpu, "-launch", "auto")
	check(docker, "vllm", launchContainer, "it has an image, and Docker answers", auto...)
	check(docker, "custom", launchContainer, "it has an image, and Docker answers", auto...)
	check(noDocker, "vllm", launchProcess, "no container: no Docker daemon can be reached: connection refused", auto...)
	check(unasked, "vllm", launchProcess, "its program is named: "+venv, append(auto, "-venv", venv)...)
	check(docker, "llamacpp", launchContainer, "Docker answers", append(auto, "-venv", venv)...)
	check(unasked, "custom", launchProcess, "its program is named: /bin/serve", append(auto, "-serve-bin", "/bin/serve")...)
	t.Setenv(target.VLLMEnv, "/bin/vllm")
	check(unasked, "vllm", launchProcess, "its program is named: $SERVEBENCH_VLLM", auto...)

	bare := *target.All()[0]
	bare.Image = nil
	o, err := parse(auto...)
	require.NoError(t, err)
	got, err := o.choose(t.Context(), &bare, docker)
	require.NoError(t, err)
	assert.Equal(t, choice{launchProcess, "no container: it has no image"}, got)
	o, err = parse(append(cpu, "-launch", "container")...)
	require.NoError(t, err)
	_, err = o.choose(t.Context(), &bare, docker)
	assert.EqualError(t, err, "-launch container: custom: it has no image")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o, err = parse(auto...)
	require.NoError(t, err)
	_, err = o.choose(ctx, target.All()[0], func(ctx context.Context) error { return ctx.Err() })
	assert.ErrorIs(t, err, context.Canceled, "an interruption is no reason for a process")
}

func TestLaunchOptionsRefused(t *testing.T) {
	check := func(want string, args ...string) {
		t.Helper()
		_, err := parse(append([]string{"-device", deviceCPU}, args...)...)
		assert.ErrorContains(t, err, want, args)
	}
	venv := pythonWith(t, "vllm")
	check(`-launch: unknown value "docker": choose from auto, container, process`, "-launch", "docker")
	check("-launch: a container has its own programs", "-launch", "container", "-venv", venv)
	check("-launch: a container has its own programs", "-launch", "container", "-serve-bin", "serve")
	check("-image: a process has no image", "-launch", "process", "-image", "x")
	check("-image: it is either an image or a program", "-launch", "auto", "-image", "x", "-venv", venv)
	check("-image: one image is of one framework", "-launch", "auto", "-image", "x", "-framework", "custom,vllm")
	check("-venv: "+t.TempDir()[:4], "-venv", t.TempDir())
	check("-cpus: \"x\" is no CPU", "-cpus", "x")
	check("-cpus: CPU 1023 is not among those", "-cpus", "1023")
	check("-shared-gpu: there is no GPU", "-shared-gpu")
	host := []string{"-host", "http://localhost:1", "-model", "gpt2"}
	check("-launch, -venv, -image and -cpus mean nothing", append(host, "-venv", venv)...)
	check("-launch, -venv, -image and -cpus mean nothing", append(host, "-launch", "container")...)
}

func TestAPIKeyOption(t *testing.T) {
	t.Setenv("SERVEBENCH_TEST_KEY", "hidden")
	o, err := parse("-host", "http://localhost:1", "-model", "gpt2", "-api-key-env", "SERVEBENCH_TEST_KEY")
	require.NoError(t, err)
	assert.Equal(t, launch.Secret("hidden"), o.apiKey())
	o.host = ""
	assert.Empty(t, o.apiKey(), "a server that the suite starts takes no key")
}

func TestSplitReference(t *testing.T) {
	check := func(ref string, want ...string) {
		t.Helper()
		repository, tag, digest := splitReference(ref)
		assert.Equal(t, want, []string{repository, tag, digest}, ref)
	}
	check("vllm/vllm-openai:v1", "vllm/vllm-openai", "v1", "")
	check("vllm", "vllm", "", "")
	check("localhost:5000/vllm", "localhost:5000/vllm", "", "")
	check("localhost:5000/vllm:v1@sha256:ab", "localhost:5000/vllm", "v1", "sha256:ab")
	check("vllm@sha256:ab", "vllm", "", "sha256:ab")
}

func TestComments(t *testing.T) {
	var out bytes.Buffer
	c := comments{w: &out}
	for _, piece := range []string{"a", "b\nc\n", "d"} {
		n, err := c.Write([]byte(piece))
		require.NoError(t, err)
		assert.Len(t, piece, n)
	}
	assert.Equal(t, "# ab\n# c\n", out.String())
}
