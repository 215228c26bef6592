//go:build !linux

package mapped

// Other systems give pages back when they need them.
func sequential([]byte) {}
func giveBack([]byte)   {}
