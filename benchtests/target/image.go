package target

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
)

// AnyHost is the Config.Host of a server in a container, whose loopback
// interface nobody outside reaches.
const AnyHost = "0.0.0.0"

// Image is how a framework runs in a container. What follows the entrypoint is
// Args for a Config whose Host is AnyHost, whose Port is the image's and whose
// Model is a path below Models or a hub id.
type Image struct {
	GPU string // reference with a pinned tag, for machines with a GPU; "" if there is none
	CPU string // the same for machines without
	// Build says how the image is made from this repository in place of being
	// pulled; GPU and CPU are then what it is called.
	Build *Build

	// Entrypoint takes the place of the image's own; nil leaves that.
	Entrypoint []string
	// Args returns what follows the entrypoint; nil: Target.Args.
	Args func(Config) []string
	// Env returns the container's variables, "KEY=value", none of them secret; nil for none.
	Env func(Config) []string

	Port    int    // that the server listens on inside
	Models  string // folder inside that a local model is mounted below, read-only
	Hub     string // hub's cache inside (HF_HOME); "" if it reads none
	ShmSize int64  // bytes of /dev/shm; 0 is Docker's own 64 MiB
	AsUser  bool   // runs as whoever it is told, so as the user whose files it reads
	// TokenEnv names the variable that the hub's token is passed in; "" if it takes none.
	TokenEnv string
	Ulimits  []Ulimit
	// CapAdd and SecurityOpt are what the program asks for beyond a container's
	// usual rights, as Docker writes it.
	CapAdd, SecurityOpt []string
}

// Ulimit is a limit of a container's processes; −1 is none.
type Ulimit struct {
	Name       string // "memlock"
	Soft, Hard int64
}

// Mount says what of the host a container sees where, read-only.
type Mount struct{ Source, Target string }

// Build is an image that is made from this repository.
type Build struct {
	CPU string // Dockerfile, from the module's root
	GPU string
	// Args names, for an ARG of the Dockerfile, the environment variable that sets it.
	Args map[string]string
}

// Ref returns the image's reference for a machine with or without a GPU. The
// error says that the framework has none.
func (i *Image) Ref(gpu bool) (string, error) {
	ref, machine := i.CPU, "without a GPU"
	if gpu {
		ref, machine = i.GPU, "with a GPU"
	}
	if ref == "" {
		return "", fmt.Errorf("there is no image for a machine %s: name one with -image, or run it with -launch process", machine)
	}
	return ref, nil
}

// Dockerfile returns the one that the image is made of, from the module's
// root; "" for an image that is pulled.
func (i *Image) Dockerfile(gpu bool) string {
	switch {
	case i.Build == nil:
		return ""
	case gpu:
		return i.Build.GPU
	default:
		return i.Build.CPU
	}
}

// insideDir is Config.Dir in a container: a folder that all of them have.
const insideDir = "/tmp"

// Inside returns a config as it is in a container, and what the container has
// to see for it: everything that Prepare made or the user gave as a path. The
// files of a folder are mounted one by one, since a link, such as the hub
// cache's snapshots are made of, leads nowhere in a container.
func (i *Image) Inside(c Config) (Config, []Mount, error) {
	c.Host, c.Port, c.Dir = AnyHost, i.Port, insideDir
	info, err := os.Stat(c.Model)
	if err != nil {
		return c, nil, nil // a hub id
	}
	model, err := filepath.Abs(c.Model)
	if err != nil {
		return c, nil, err
	}
	if !info.IsDir() {
		c.Model = path.Join(i.Models, filepath.Base(model))
		model, err = filepath.EvalSymlinks(model)
		return c, []Mount{{model, c.Model}}, err
	}
	c.Model = i.Models
	mounts, err := mountFolder(model, i.Models)
	return c, mounts, err
}

// mountFolder mounts a folder: as it is if it has no links, else file by file.
func mountFolder(folder, inside string) ([]Mount, error) {
	var mounts []Mount
	links := false
	err := filepath.WalkDir(folder, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		links = links || d.Type()&fs.ModeSymlink != 0
		if d.IsDir() {
			return nil
		}
		source, err := filepath.EvalSymlinks(file)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		mounts = append(mounts, Mount{source, path.Join(inside, filepath.ToSlash(name))})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("what a container sees of %s: %w", folder, err)
	}
	if !links {
		mounts = []Mount{{folder, inside}}
	}
	return mounts, nil
}
