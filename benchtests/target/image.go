package target

import "fmt"

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
	// TokenEnv names the variable that the hub's token is passed in; "" if it takes none.
	TokenEnv string
}

// Build is an image that is made from this repository.
type Build struct {
	CPU string // Dockerfile, from the module's root
	GPU string
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
