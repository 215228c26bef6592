package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// repoCache is a repository's part of the cache.
type repoCache struct {
	dir   string // …/models--ORG--NAME
	locks string // …/.locks/models--ORG--NAME
}

func (c *Client) repoCache(r Repo) repoCache {
	return repoCache{dir: filepath.Join(c.Cache, r.folder()), locks: filepath.Join(c.Cache, ".locks", r.folder())}
}

func (rc repoCache) blob(checksum string) string { return filepath.Join(rc.dir, "blobs", checksum) }
func (rc repoCache) lock(checksum string) string { return filepath.Join(rc.locks, checksum+".lock") }
func (rc repoCache) snapshot(commit string) string {
	return filepath.Join(rc.dir, "snapshots", commit)
}
func (rc repoCache) ref(revision string) string {
	return filepath.Join(rc.dir, "refs", filepath.FromSlash(revision))
}

// commit is what the cache says that a revision was when it was last looked up.
func (rc repoCache) commit(revision string) (string, bool) {
	if commitSyntax.MatchString(revision) {
		return revision, true
	}
	b, err := os.ReadFile(rc.ref(revision))
	commit := strings.TrimSpace(string(b))
	return commit, err == nil && commitSyntax.MatchString(commit)
}

// setCommit writes a revision's commit.
func (rc repoCache) setCommit(revision, commit string) error {
	if revision == commit {
		return nil
	}
	path := rc.ref(revision)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".ref-*")
	if err != nil {
		return err
	}
	_, err = tmp.WriteString(commit)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
	}
	return err
}

// has reports whether the snapshot has a file whose bytes are there.
func (rc repoCache) has(commit, name string) bool {
	info, err := os.Stat(filepath.Join(rc.snapshot(commit), filepath.FromSlash(name)))
	return err == nil && info.Mode().IsRegular()
}

// link makes snapshots/commit/name a relative link to the blob.
func (rc repoCache) link(commit, name, checksum string) error {
	path := filepath.Join(rc.snapshot(commit), filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	target, err := filepath.Rel(filepath.Dir(path), rc.blob(checksum))
	if err != nil {
		return err
	}
	err = os.Symlink(target, path)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Another process may have made the same link; one that leads elsewhere is replaced.
	if have, err := os.Readlink(path); err == nil && have == target {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	return os.Symlink(target, path)
}

// files lists a snapshot's files whose bytes are there.
func (rc repoCache) files(commit string) []string {
	var names []string
	root := rc.snapshot(commit)
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // an unreadable folder has no files for us
		}
		if name, err := filepath.Rel(root, path); err == nil && rc.has(commit, name) {
			names = append(names, filepath.ToSlash(name))
		}
		return nil
	})
	return names
}

// Cached returns the folder of the snapshot that the cache has for the
// repository's revision, and whether every pattern of f.Need matches a file in
// it. It uses no network.
func (c *Client) Cached(r Repo, f Files) (dir string, ok bool) {
	dir, err := c.cached(r, f)
	return dir, err == nil
}

// cached is Cached with the reason.
func (c *Client) cached(r Repo, f Files) (string, error) {
	if err := r.check(); err != nil {
		return "", err
	}
	rc := c.repoCache(r)
	commit, ok := rc.commit(r.revision())
	if !ok {
		return "", fmt.Errorf("%s has no %s", c.Cache, r)
	}
	if _, err := f.matching(rc.files(commit)); err != nil {
		if m := (*MissingError)(nil); errors.As(err, &m) { // the hub may well have them: no ErrNotFound
			err = errors.New("no " + m.missing())
		}
		return "", fmt.Errorf("%s: %w", rc.snapshot(commit), err)
	}
	return rc.snapshot(commit), nil
}
