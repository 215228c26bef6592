package mapped

import "golang.org/x/sys/unix"

// sequential asks for long reads ahead.
func sequential(data []byte) { _ = unix.Madvise(data, unix.MADV_SEQUENTIAL) } // a hint

// giveBack takes all pages out of the process; reading brings them in again.
func giveBack(data []byte) { _ = unix.Madvise(data, unix.MADV_DONTNEED) } // a hint for a mapped file
