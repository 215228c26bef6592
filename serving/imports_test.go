package serving_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "servebench"

// listed is what `go list` tells of a package, its tests' imports included.
type listed struct {
	ImportPath string
	Imports    []string
	Deps       []string
	CgoFiles   []string
	ForTest    string
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Imports,Deps,CgoFiles,ForTest"}, args...)...)
	cmd.Dir = ".."
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	require.NoErrorf(t, err, "go list %v: %s", args, stderr.String())
	var all []listed
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		if err := d.Decode(&p); err == io.EOF {
			return all
		} else {
			require.NoError(t, err)
		}
		all = append(all, p)
	}
}

// TestImportRules holds the walls between the packages: the suite measures the
// server over HTTP alone, kernels know nothing of serving, the scheduler and
// the block accounting see no device, models see operations and not the
// scheduler, and C stays in kernels.
func TestImportRules(t *testing.T) {
	under := func(path string, roots ...string) bool {
		return slices.ContainsFunc(roots, func(r string) bool {
			r = module + "/" + r
			return path == r || strings.HasPrefix(path, r+"/")
		})
	}
	rules := []struct {
		packages string
		never    []string
		why      string
	}{
		{"./benchtests/...", []string{"serving", "kernels"}, "the server is measured over HTTP, like its peers"},
		{"./datasets/...", []string{"serving", "kernels"}, "prompts are the same for every framework"},
		{"./results/...", []string{"serving", "kernels"}, "figures come from records alone"},
		{"./kernels/...", []string{"serving", "benchtests", "datasets", "results"}, "kernels stand alone"},
		{"./serving/...", []string{"benchtests", "results"}, "the server does not know who measures it"},
		{"./serving/sched", []string{"kernels"}, "scheduling sees no device"},
		{"./serving/kvcache", []string{"kernels"}, "block accounting sees no device"},
		{"./serving/models", []string{"serving/sched", "serving/kvcache", "serving/engine"}, "models see operations, not the scheduler"},
	}
	for _, tags := range []string{"", "gpu"} {
		for _, r := range rules {
			packages := list(t, "-test", "-tags="+tags, r.packages)
			require.NotEmptyf(t, packages, "for %s: no package matched", r.packages)
			for _, p := range packages {
				for _, dep := range p.Deps {
					dep, _, _ = strings.Cut(dep, " ") // "path [path.test]" is the test variant
					if under(dep, r.never...) && !under(p.ImportPath, r.never...) {
						t.Errorf("for %s (tags %q): imports %s: %s", p.ImportPath, tags, dep, r.why)
					}
				}
			}
		}
		for _, p := range list(t, "-tags="+tags, "./...") {
			if len(p.CgoFiles) > 0 && !under(p.ImportPath, "kernels") {
				t.Errorf("for %s (tags %q): imports \"C\"; only kernels may", p.ImportPath, tags)
			}
		}
	}
}
