package cuda

import (
	"errors"
	"fmt"
)

// What New, Devices and a device's functions return, wrapped with what was being
// done and what the library has to say of it.
var (
	// ErrUnavailable is returned by New and Devices where this program was built
	// without what loads the library: not for Linux on amd64 or arm64, or with the
	// tag nocuda.
	ErrUnavailable = errors.New("this program was built without CUDA")
	// ErrLibrary is returned by New and Devices when the library of kernels is not
	// found, cannot be loaded, lacks a library that it needs, or is of another version.
	ErrLibrary = errors.New("the library of CUDA kernels cannot be used")
	// ErrDriver is returned by New and Devices when there is no NVIDIA driver, or an
	// older one than the library needs.
	ErrDriver = errors.New("no NVIDIA driver that this library can use: install or update it (nvidia-smi tells its version), and give containers their GPUs (docker run --gpus all)")
	// ErrNoDevice is returned by New when the driver has no GPU of that number.
	ErrNoDevice = errors.New("no such GPU: `nvidia-smi -L` lists them, CUDA_VISIBLE_DEVICES hides some")
	// ErrArchitecture is returned by New when the GPU is older than compute capability
	// 8.0, or newer than what the library can be compiled for.
	ErrArchitecture = errors.New("the library has no kernels for this GPU: it needs compute capability 8.0 (A100, RTX 30) or newer")
	// ErrMemory is returned by New, Load, NewBuffer, NewKV and Capture, and by End
	// when an operation's own memory has to grow, where the GPU has no room, or the
	// system none for page-locked memory. The device can be used further.
	ErrMemory = errors.New("out of GPU memory")
	// ErrFailed is returned by any function when the CUDA runtime or cuBLASLt refuses
	// what was asked of it. The device can be used further.
	ErrFailed = errors.New("the CUDA runtime refused")
	// ErrLost is returned by any function once the GPU's context is broken: an error
	// that CUDA calls sticky. All that is left to do is Close.
	ErrLost = errors.New("the GPU's context is lost: start anew, and look at `dmesg | grep -i xid` if it happens again")
)

// errArgument is returned where what this package passed on makes no sense to the library.
var errArgument = errors.New("the library does not take that")

// status is what the library's functions return (kernels.h).
type status int32

const (
	statusOK status = iota
	statusArgument
	statusNoDriver
	statusNoDevice
	statusArchitecture
	statusMemory
	statusLibrary
	statusFailed
	statusLost
)

// sentinels has the error of each status.
var sentinels = map[status]error{
	statusArgument: errArgument, statusNoDriver: ErrDriver, statusNoDevice: ErrNoDevice, statusArchitecture: ErrArchitecture,
	statusMemory: ErrMemory, statusLibrary: ErrFailed, statusFailed: ErrFailed, statusLost: ErrLost,
}

// err makes an error of a status other than statusOK.
func (s status) err(doing, message string) error {
	sentinel, ok := sentinels[s]
	if !ok {
		sentinel = fmt.Errorf("%w: status %d, which this program does not know", ErrLibrary, s)
	}
	if message == "" {
		return fmt.Errorf("cuda: %s: %w", doing, sentinel)
	}
	return fmt.Errorf("cuda: %s: %w: %s", doing, sentinel, message)
}
