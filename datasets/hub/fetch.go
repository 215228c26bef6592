package hub

import (
	"context"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// lockPoll is how often a lock that another process holds is tried.
const lockPoll = 100 * time.Millisecond

// fetch makes sure that the cache has the blob of a file and links it into the
// snapshot. One process at a time works on a blob.
func (c *Client) fetch(ctx context.Context, r Repo, commit string, f remote) error {
	rc := c.repoCache(r)
	for _, dir := range []string{rc.locks, filepath.Dir(rc.blob(f.checksum))} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	lock := flock.New(rc.lock(f.checksum))
	defer lock.Close() // gives the lock back
	if ok, err := lock.TryLock(); err != nil {
		return fmt.Errorf("lock %s: %w", lock.Path(), err)
	} else if !ok {
		c.note("%s: another process downloads it, waiting", f.name)
		if _, err := lock.TryLockContext(ctx, lockPoll); err != nil {
			return fmt.Errorf("lock %s: %w", lock.Path(), err)
		}
	}
	blob := rc.blob(f.checksum)
	if info, err := os.Stat(blob); err != nil || info.Size() != f.size {
		if err := c.download(ctx, r, commit, f, blob); err != nil {
			return err
		}
	}
	return rc.link(commit, f.name, f.checksum)
}

// download fills blob.incomplete, goes on where an earlier attempt stopped, and
// renames it once length and checksum are right. A file that is wrong is
// downloaded once more from its start.
func (c *Client) download(ctx context.Context, r Repo, commit string, f remote, blob string) error {
	out, err := os.OpenFile(blob+".incomplete", os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	p := &partial{remote: f, file: out}
	if err := p.resume(ctx); err != nil {
		return err
	}
	meter := c.meter(f.name, f.size, p.have)
	defer meter.stop()
	p.meter = meter
	wrong := 0
	err = c.retry(ctx, r.named(f.name), func() (bool, error) {
		best := p.best
		err := c.transfer(ctx, r, commit, p)
		if err == nil {
			err = p.verify()
		}
		if errors.Is(err, ErrCorrupt) {
			if wrong++; wrong > 1 {
				return false, errors.Join(err, os.Remove(out.Name()))
			}
			err = &failure{err: errors.Join(err, p.restart())}
		}
		return p.best > best, err
	})
	if err != nil {
		return err
	}
	if err := errors.Join(out.Sync(), out.Close()); err != nil {
		return err
	}
	return os.Rename(out.Name(), blob)
}

// transfer asks for what is missing of a file and appends it.
func (c *Client) transfer(ctx context.Context, r Repo, commit string, p *partial) error {
	if p.have == p.size {
		return nil
	}
	end, err := c.endpoint()
	if err != nil {
		return err
	}
	resp, err := c.send(ctx, http.MethodGet, r.file(end, commit, p.name), p.have, true)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	want := fmt.Sprintf("bytes %d-%d/%d", p.have, p.size-1, p.size)
	switch s := resp.StatusCode; {
	case s == http.StatusOK: // all of the file, whatever was asked for
		if err := p.restart(); err != nil {
			return err
		}
	case s == http.StatusPartialContent && p.have > 0 && resp.Header.Get("Content-Range") == want:
	case s == http.StatusPartialContent, s == http.StatusRequestedRangeNotSatisfiable:
		// Not the part that was asked for: then all of it.
		if err := p.restart(); err != nil {
			return err
		}
		return &failure{err: fmt.Errorf("%w: part of a file %q instead of %q", ErrProtocol, resp.Header.Get("Content-Range"), want)}
	default:
		return c.refused(r, resp)
	}
	if n := resp.ContentLength; n >= 0 && n != p.size-p.have {
		return fmt.Errorf("%w: %d bytes announced where %d are missing", ErrCorrupt, n, p.size-p.have)
	}
	// One byte more than wanted shows a body that is too long.
	if _, err := io.Copy(p, io.LimitReader(resp.Body, p.size-p.have+1)); err != nil {
		return asBrokenRead(err, resp)
	}
	if p.have < p.size {
		return asBroken(io.ErrUnexpectedEOF, resp)
	}
	return nil
}

// asBrokenRead tells errors of the network, worth another attempt, from those of the disk.
func asBrokenRead(err error, resp *http.Response) error {
	if w := (*writeError)(nil); errors.As(err, &w) {
		return w.err
	}
	return asBroken(err, resp)
}

// writeError is an error of the disk.
type writeError struct{ err error }

func (w *writeError) Error() string { return w.err.Error() }

// partial is a file as far as it has arrived.
type partial struct {
	remote
	file  *os.File
	have  int64
	best  int64     // the most that have ever was: fetching the same again is no progress
	sum   hash.Hash // of the bytes up to have
	meter *meter
}

// resume takes over what an earlier download left.
func (p *partial) resume(ctx context.Context) error {
	info, err := p.file.Stat()
	if err != nil {
		return err
	}
	if err := p.reset(); err != nil {
		return err
	}
	if info.Size() > p.size {
		return p.file.Truncate(0)
	}
	for p.have < info.Size() && ctx.Err() == nil {
		n, err := io.CopyN(p.sum, p.file, min(64<<20, info.Size()-p.have))
		if p.have += n; err != nil {
			return err
		}
	}
	return ctx.Err()
}

// restart throws away what has arrived.
func (p *partial) restart() error {
	if p.meter != nil {
		p.meter.add(-p.have)
	}
	return errors.Join(p.file.Truncate(0), p.reset())
}

// reset goes to the start of the file.
func (p *partial) reset() error {
	p.have = 0
	if len(p.checksum) == sha256.Size*2 {
		p.sum = sha256.New()
	} else { // git's name of a file is the sha1 of this line and its bytes
		p.sum = sha1.New()
		_, _ = fmt.Fprintf(p.sum, "blob %d\x00", p.size)
	}
	_, err := p.file.Seek(0, io.SeekStart)
	return err
}

// Write appends.
func (p *partial) Write(b []byte) (int, error) {
	n, err := p.file.Write(b)
	_, _ = p.sum.Write(b[:n])
	p.have += int64(n)
	p.best = max(p.best, p.have)
	p.meter.add(int64(n))
	if err != nil {
		err = &writeError{err}
	}
	return n, err
}

// verify compares length and checksum with those announced.
func (p *partial) verify() error {
	if p.have != p.size {
		return fmt.Errorf("%w: more than the %d bytes announced", ErrCorrupt, p.size)
	}
	if got := hex.EncodeToString(p.sum.Sum(nil)); !strings.EqualFold(got, p.checksum) {
		return fmt.Errorf("%w: checksum %s where %s was announced", ErrCorrupt, got, p.checksum)
	}
	return nil
}
