package telemetry

import (
	"errors"
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestHolders(t *testing.T) {
	one, two := newCard(1), newCard(2)
	one.procs = []gpuProcess{{pid: os.Getpid(), memory: 1 << 20}, {pid: 1<<30 + 1, memory: 2 << 20}}
	two.procs = []gpuProcess{{pid: os.Getpid(), memory: 4 << 20}}
	held, err := newGPUs(one, two).Holders()
	require.NoError(t, err)
	require.Len(t, held, 2)
	assert.Equal(t, os.Getpid(), held[0].PID)
	assert.Equal(t, int64(5<<20), held[0].Memory, "on both")
	if runtime.GOOS == "linux" && hostProcessNumbers() {
		assert.NotEmpty(t, held[0].Name)
	} else {
		assert.Empty(t, held[0].Name, "the number is another process's here")
	}
	assert.Equal(t, "process 1073741825 (not to be seen from here, 2 MiB)", held[1].String(), "there is no such process")

	two.fail["processes"] = errors.New("ERROR_NOT_SUPPORTED")
	_, err = newGPUs(one, two).Holders()
	assert.ErrorContains(t, err, "processes on GPU 1: ERROR_NOT_SUPPORTED")
}
