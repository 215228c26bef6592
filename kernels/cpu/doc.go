// Package cpu implements kernels.Device with C kernels for x86-64, reached
// through cgo.
package cpu
