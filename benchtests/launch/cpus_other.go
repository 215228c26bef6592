//go:build !linux

package launch

import "errors"

var errNoCPUs = errors.New("binding a server to CPUs needs Linux")

// ownCPUs returns the CPUs that this process may use: here that cannot be said.
func ownCPUs() ([]int, error) { return nil, errNoCPUs }
