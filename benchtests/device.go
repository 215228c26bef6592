package benchtests

import (
	"errors"
	"fmt"

	"servebench/benchtests/telemetry"
)

// What servers compute on: the values of -device. With cpu nothing is asked of
// a driver, also in a program built with -tags gpu; what a server does with
// arguments of its own (-serve-args) is its affair.
const (
	deviceCPU  = "cpu"
	deviceCUDA = "cuda"
)

// defaultFrameworks are measured on a device when none are named.
var defaultFrameworks = map[string]string{
	deviceCPU:  "custom",
	deviceCUDA: "custom,vllm,tgi,transformers",
}

// frameworkList returns the frameworks to measure. A server that runs already is
// of one.
func (v *flagValues) frameworkList() string {
	switch {
	case v.framework != "":
		return v.framework
	case v.host != "":
		return defaultFrameworks[deviceCPU]
	}
	return defaultFrameworks[v.device]
}

// checkDevice refuses a device that this program cannot measure on.
func (v *flagValues) checkDevice() error {
	if defaultFrameworks[v.device] == "" {
		return fmt.Errorf("unknown value %q: choose from %s, %s", v.device, deviceCPU, deviceCUDA)
	}
	if v.device == deviceCUDA && !gpuBuild {
		return fmt.Errorf("%s: this program was built without GPUs: go test -tags gpu", deviceCUDA)
	}
	if v.device == deviceCPU && v.gpus != "" {
		return fmt.Errorf("%s: -gpus names GPUs to compute on, which takes -device %s", deviceCPU, deviceCUDA)
	}
	return nil
}

// openGPUs opens the GPUs that servers are given; nil where they are given none:
// on CPUs, and where the server is somebody else's, unless -gpus says that it
// computes on some of this machine's. Where there are none it is an error: a
// run that measured nothing would look like a success.
func (o *options) openGPUs() (*telemetry.GPUs, error) {
	if o.device == deviceCPU || (o.host != "" && o.gpus == "") {
		return nil, nil
	}
	g, err := telemetry.OpenGPUs(o.gpus)
	switch {
	case errors.Is(err, telemetry.ErrNoGPU), errors.Is(err, telemetry.ErrNoGPUSupport):
		return nil, fmt.Errorf("-device %s: %w; -device %s measures on the CPU", o.device, err, deviceCPU)
	case err != nil:
		return nil, fmt.Errorf("-gpus: %w", err)
	}
	return g, nil
}
