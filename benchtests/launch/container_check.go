package launch

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
)

var (
	gpuList  = regexp.MustCompile(`^[0-9A-Za-z-]+(,[0-9A-Za-z-]+)*$`)
	coreList = regexp.MustCompile(`^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$`)
	envName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
)

// check refuses what no daemon can do, before anything is pulled, and fills in
// what is left zero.
func (c *ContainerCommand) check() error {
	if _, err := c.reference(""); err != nil {
		return err
	}
	switch {
	case c.Digest != "" && c.Build != nil:
		return fmt.Errorf("image %s is built here, so no digest can be asked for", c.Image)
	case c.Port < 1 || c.Port > 65535:
		return fmt.Errorf("port %d of the container is not within 1 to 65535", c.Port)
	case c.Log == "":
		return errors.New("no log file is named")
	case c.GPUs != "" && !gpuList.MatchString(c.GPUs):
		return fmt.Errorf("GPUs %q are neither all nor a list such as 0,2", c.GPUs)
	case c.CPUs != "" && !coreList.MatchString(c.CPUs):
		return fmt.Errorf("CPUs %q are not a list such as 0-3,6", c.CPUs)
	case c.ShmSize < 0:
		return fmt.Errorf("shared memory of %d bytes", c.ShmSize)
	}
	for _, e := range c.Env {
		if name, _, found := strings.Cut(e, "="); !found || !envName.MatchString(name) {
			return fmt.Errorf("variable %q is not NAME=value", e)
		}
	}
	for name, value := range c.SecretEnv {
		if !envName.MatchString(name) || value == "" {
			return fmt.Errorf("secret variable %q has no value, or a name that cannot be", name)
		}
	}
	for _, m := range c.Mounts {
		if !filepath.IsAbs(m.Host) || !strings.HasPrefix(m.Path, "/") {
			return fmt.Errorf("mount of %q at %q: both must be absolute paths", m.Host, m.Path)
		}
	}
	if c.StartTimeout == 0 {
		c.StartTimeout = DefaultStartTimeout
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = DefaultStopTimeout
	}
	if c.Progress == nil {
		c.Progress = io.Discard
	}
	return nil
}

// reference returns the image's whole name. prefix is a registry in front of
// images that name none, "" for Docker's own.
func (c *ContainerCommand) reference(prefix string) (reference.Named, error) {
	bad := func(err error) error {
		return fmt.Errorf("image %q (tag %q, digest %q): %w", c.Image, c.Tag, c.Digest, err)
	}
	ref, err := reference.ParseNormalizedNamed(c.Image)
	if err != nil {
		return nil, bad(err)
	}
	if prefix != "" && reference.Domain(ref) == "docker.io" && !strings.HasPrefix(c.Image, "docker.io/") {
		if ref, err = reference.ParseNormalizedNamed(strings.TrimRight(prefix, "/") + "/" + c.Image); err != nil {
			return nil, bad(err)
		}
	}
	name, tag, sum := reference.TrimNamed(ref), c.Tag, digest.Digest(c.Digest)
	if t, ok := ref.(reference.Tagged); ok && tag == "" {
		tag = t.Tag()
	}
	if d, ok := ref.(reference.Digested); ok && sum == "" {
		sum = d.Digest()
	}
	if tag == "" && sum == "" {
		tag = "latest"
	}
	ref = name
	if tag != "" {
		if ref, err = reference.WithTag(ref, tag); err != nil {
			return nil, bad(err)
		}
	}
	if sum != "" {
		if err := sum.Validate(); err != nil {
			return nil, bad(err)
		}
		if ref, err = reference.WithDigest(ref, sum); err != nil {
			return nil, bad(err)
		}
	}
	return ref, nil
}
