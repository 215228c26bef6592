package benchtests

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"servebench/benchtests/launch"
	"servebench/benchtests/target"
)

// How servers are started: the values of -launch, and what results.Server.Launch
// says where none is.
const (
	launchAuto      = "auto"
	launchContainer = "container"
	launchProcess   = "process"
	launchEndpoint  = "endpoint"
)

// defaultLaunch is how servers are started on a device when -launch does not
// say. On a CPU that is a process, with Docker or without: what the suite can do
// on a bare machine is then the same on every machine.
var defaultLaunch = map[string]string{deviceCPU: launchProcess, deviceCUDA: launchAuto}

// defaultKeyEnv names the variable with the key for the server at -host.
const defaultKeyEnv = "SERVEBENCH_API_KEY"

// checkLaunch reads the flags that are about how servers are started, and
// refuses those that contradict each other. -host has its own check.
func (o *options) checkLaunch() error {
	o.launchWhy = "-launch " + o.launch
	switch o.launch {
	case "":
		if o.launch, o.launchWhy = defaultLaunch[o.device], "as always on "+o.device+" unless -launch says otherwise"; o.image != "" {
			o.launch, o.launchWhy = launchContainer, "-image names one"
		}
	case launchAuto, launchContainer, launchProcess:
	default:
		return fmt.Errorf("-launch: unknown value %q: choose from %s, %s, %s", o.launch, launchAuto, launchContainer, launchProcess)
	}
	var err error
	if o.cpus, err = launch.ParseCPUs(o.cpuList); err == nil {
		err = launch.CheckCPUs(o.cpus)
	}
	if err != nil {
		return fmt.Errorf("-cpus: %w", err)
	}
	if o.venv != "" {
		if _, _, err := launch.Environment(o.venv); err != nil {
			return fmt.Errorf("-venv: %w", err)
		}
	}
	switch {
	case o.image != "" && (o.venv != "" || o.serveBin != ""):
		return errors.New("-image: it is either an image or a program (-venv, -serve-bin)")
	case o.launch == launchContainer && (o.venv != "" || o.serveBin != ""):
		return errors.New("-launch: a container has its own programs, so -venv and -serve-bin mean nothing")
	case o.launch == launchProcess && o.image != "":
		return errors.New("-image: a process has no image; give -launch container")
	case o.image != "" && len(o.frameworks) > 1:
		return errors.New("-image: one image is of one framework: give one with -framework")
	case o.sharedGPU && o.device == deviceCPU:
		return fmt.Errorf("-shared-gpu: there is no GPU to share with -device %s", deviceCPU)
	}
	if o.image != "" && o.launch == launchAuto {
		o.launch, o.launchWhy = launchContainer, "-image names one"
	}
	return nil
}

// apiKey returns the key for the server at -host; "" is none.
func (o *options) apiKey() launch.Secret {
	if o.host == "" || o.apiKeyEnv == "" {
		return ""
	}
	return launch.Secret(os.Getenv(o.apiKeyEnv))
}

// choice is how a framework's server is started.
type choice struct{ by, why string }

func (c choice) String() string { return c.by + ": " + c.why }

// choose decides how a target's server is started. docker says why containers
// cannot be started here, if they cannot; it is asked only where it matters.
func (o *options) choose(ctx context.Context, t *target.Target, docker func(context.Context) error) (choice, error) {
	if o.host != "" {
		return choice{launchEndpoint, "-host says that it runs already"}, nil
	}
	asked := choice{o.launch, o.launchWhy}
	switch o.launch {
	case launchProcess:
		return asked, nil
	case launchContainer:
		if o.image == "" {
			if _, err := o.imageOf(t); err != nil {
				return asked, fmt.Errorf("-launch %s: %s: %w", launchContainer, t.Name, err)
			}
		} else if t.Image == nil {
			return asked, fmt.Errorf("-image: how %s runs in a container is not known", t.Name)
		}
		return asked, nil
	}
	if given := o.given(t); given != "" {
		return choice{launchProcess, "its program is named: " + given}, nil
	}
	_, err := o.imageOf(t)
	if err == nil {
		err = docker(ctx)
	}
	if err != nil {
		if ctx.Err() != nil {
			return choice{}, context.Cause(ctx)
		}
		why, _, _ := strings.Cut(err.Error(), "\n")
		return choice{launchProcess, "no container: " + why}, nil
	}
	return choice{launchContainer, "it has an image, and Docker answers"}, nil
}

// imageOf returns the image that a target's container is of.
func (o *options) imageOf(t *target.Target) (string, error) {
	switch {
	case t.Image == nil:
		return "", errors.New("it has no image")
	case o.image != "":
		return o.image, nil
	default:
		return t.Image.Ref(o.device == deviceCUDA)
	}
}

// program returns a target's program as the user named it with a flag; "" leaves
// it to the target, which looks at its variable and on the PATH.
func (o *options) program(t *target.Target) string {
	if t.Binary == "" {
		return o.serveBin
	}
	path, _ := launch.LookPath(o.venv, t.Binary)
	return path
}

// given returns how the user named a target's program, if at all.
func (o *options) given(t *target.Target) string {
	if program := o.program(t); program != "" {
		return program
	}
	if t.Variable != "" && os.Getenv(t.Variable) != "" {
		return "$" + t.Variable
	}
	return ""
}
