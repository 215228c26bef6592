package results

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Git is the state of the checkout; zero where there is none.
type Git struct {
	Commit string `json:"commit,omitempty"`
	Dirty  bool   `json:"dirty,omitempty"` // tracked files differ from Commit, or there are untracked ones
	// Changes is the SHA-256 of "git diff HEAD --binary", "" where that is
	// empty. Untracked files have no part in it, since a run's own output is
	// often one; the executables' hashes hold what was built of them.
	Changes string `json:"changes_sha256,omitempty"`
}

// gitState asks the git command about the checkout that dir is in. Without
// git, or outside a checkout, it returns the zero Git and why.
func gitState(ctx context.Context, dir string) (Git, error) {
	var g Git
	commit, err := git(ctx, dir, "rev-parse", "HEAD")
	if err != nil {
		return Git{}, err
	}
	g.Commit = string(bytes.TrimSpace(commit))
	status, err := git(ctx, dir, "status", "--porcelain")
	if err != nil {
		return Git{}, err
	}
	g.Dirty = len(bytes.TrimSpace(status)) > 0
	changes, err := git(ctx, dir, "diff", "HEAD", "--binary", "--no-ext-diff", "--no-color")
	if err != nil {
		return Git{}, err
	}
	if len(changes) > 0 {
		sum := sha256.Sum256(changes)
		g.Changes = hex.EncodeToString(sum[:])
	}
	return g, nil
}

func git(ctx context.Context, dir string, args ...string) ([]byte, error) {
	// No optional locks: asking must not be in the way of somebody's commit.
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-C", dir}, args...)...)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("git %s: %s", args[0], strings.TrimSpace(string(exit.Stderr)))
	}
	return out, err
}
