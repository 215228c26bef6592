//go:build (amd64 || arm64) && !nocuda

package cuda

import "github.com/ebitengine/purego"

func available() error { return nil }

func dlopen(path string) (uintptr, error) {
	return purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
}

func dlsym(handle uintptr, name string) (uintptr, error) { return purego.Dlsym(handle, name) }

// invoke calls a C function of integers and pointers. It allocates nothing.
//
// purego before 0.11 wrote to the C stack beyond its own frame, which a thread that
// ends returns through (as that of a goroutine that has locked it does).
func invoke(fn uintptr, args []uintptr) uintptr {
	r, _, _ := purego.SyscallN(fn, args...)
	return r
}
