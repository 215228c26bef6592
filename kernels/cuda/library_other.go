//go:build !linux || !(amd64 || arm64) || nocuda

package cuda

import "fmt"

func available() error {
	return fmt.Errorf("%w: it takes Linux on amd64 or arm64, and a build without the tag nocuda", ErrUnavailable)
}

func dlopen(string) (uintptr, error)         { return 0, available() }
func dlsym(uintptr, string) (uintptr, error) { return 0, available() }
func invoke(uintptr, []uintptr) uintptr      { return 0 }
