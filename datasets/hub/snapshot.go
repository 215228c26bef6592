package hub

import (
	"context"
	"errors"
	"fmt"
)

// Snapshot makes sure that the cache has the files and returns the folder of
// the snapshot, in which they lie under their paths in the repository. Where
// the hub cannot be reached, or refuses access, the cached snapshot is returned
// if it has all that f.Need asks for, and a note says so.
//
// Errors are ErrOffline, ErrUnreachable, ErrNotFound (a MissingError where the
// repository lacks files of f.Need), ErrGated, ErrCorrupt and ErrProtocol, those
// of ctx, and those of the disk.
func (c *Client) Snapshot(ctx context.Context, r Repo, f Files) (dir string, err error) {
	if c.Cache == "" {
		return "", errors.New("hub: the client has no cache folder")
	}
	if err := r.check(); err != nil {
		return "", err
	}
	cached, miss := c.cached(r, f)
	if c.Offline {
		if miss != nil {
			return "", fmt.Errorf("%s: %w: %w", r, ErrOffline, miss)
		}
		return cached, nil
	}
	commit, names, err := c.list(ctx, r)
	if err != nil {
		if (errors.Is(err, ErrUnreachable) || errors.Is(err, ErrGated)) && miss == nil {
			c.note("%v; using the cached snapshot %s", err, cached)
			return cached, nil
		}
		if errors.Is(err, ErrUnreachable) {
			err = fmt.Errorf("%w; and %w", err, miss)
		}
		return "", err
	}
	chosen, err := f.matching(names)
	if err != nil {
		return "", fmt.Errorf("%s: %w", r, err)
	}
	rc := c.repoCache(r)
	for _, name := range chosen {
		if rc.has(commit, name) {
			continue
		}
		file, err := c.stat(ctx, r, commit, name)
		if err != nil {
			return "", err
		}
		if err := c.fetch(ctx, r, commit, file); err != nil {
			return "", err
		}
	}
	// Only now: until everything is there, the snapshot that was complete before stays the one in use.
	return rc.snapshot(commit), rc.setCommit(r.revision(), commit)
}
