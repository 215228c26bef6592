package testdata

import (
	"os"
	"testing"
)

// CUDA returns the path of the library of CUDA kernels under test:
// $SERVEBENCH_CUDA_LIBRARY, by default the one for the simulated device that
// watches every access to memory, which `make cuda-sim` builds. The test is skipped
// where that is not built, and fails with SERVEBENCH_CUDA_SIM=required.
func CUDA(t testing.TB) string {
	t.Helper()
	return library(t, "libservebench_cuda_sim.so")
}

// FastCUDA is CUDA for whole models and servers: by default the simulated device
// that watches less, and is several times faster.
func FastCUDA(t testing.TB) string {
	t.Helper()
	return library(t, "libservebench_cuda_sim_fast.so")
}

func library(t testing.TB, name string) string {
	t.Helper()
	const variable = "SERVEBENCH_CUDA_LIBRARY"
	if p := os.Getenv(variable); p != "" {
		if _, err := os.Stat(p); err != nil {
			t.Fatalf("$%s: %v", variable, err)
		}
		return p
	}
	p := Path("..", "bin", name)
	if _, err := os.Stat(p); err != nil {
		if os.Getenv("SERVEBENCH_CUDA_SIM") == "required" {
			t.Fatalf("%s is missing: `make cuda-sim` builds it", p)
		}
		t.Skipf("SKIPPED, not tested here: %s is missing: `make cuda-sim` builds it ($%s names another library, as a GPU's)", p, variable)
	}
	return p
}
