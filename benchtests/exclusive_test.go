package benchtests

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"servebench/benchtests/telemetry"
)

// fakeGPUs has one reading of memory after the other, the last for good.
type fakeGPUs struct {
	used    []int64
	fails   error
	holders []telemetry.Holder
	unknown error
	looks   int
}

func (f *fakeGPUs) MemoryUsed() (int64, error) {
	i := min(f.looks, len(f.used)-1)
	f.looks++
	if f.fails != nil {
		return 0, f.fails
	}
	return f.used[i], nil
}

func (f *fakeGPUs) Holders() ([]telemetry.Holder, error) { return f.holders, f.unknown }

func TestAwaitMemory(t *testing.T) {
	const gib = 1 << 30
	await := func(f *fakeGPUs, bound time.Duration) (int64, error) {
		return awaitMemory(t.Context(), f, gib, bound, time.Millisecond)
	}
	f := &fakeGPUs{used: []int64{20 * gib, 20 * gib, 3 * gib, gib + memorySlack}}
	used, err := await(f, time.Hour)
	require.NoError(t, err)
	assert.EqualValues(t, gib+memorySlack, used)
	assert.Equal(t, 4, f.looks)

	f = &fakeGPUs{used: []int64{20 * gib}, holders: []telemetry.Holder{{PID: 7, Name: "python3", Memory: 19 * gib}, {PID: 8, Memory: gib}}}
	_, err = await(f, 5*time.Millisecond)
	require.Error(t, err)
	for _, part := range []string{"20480 MiB", "1024 MiB were before", "process 7 (python3, 19456 MiB)", "process 8 (not to be seen from here, 1024 MiB)", "-shared-gpu"} {
		assert.ErrorContains(t, err, part)
	}
	f.holders = nil
	_, err = await(f, 5*time.Millisecond)
	assert.ErrorContains(t, err, "no process that the driver knows of")
	f.unknown = errors.New("not supported")
	_, err = await(f, 5*time.Millisecond)
	assert.ErrorContains(t, err, "not told (not supported)")

	_, err = await(&fakeGPUs{used: []int64{0}, fails: errors.New("GPU is lost")}, time.Hour)
	assert.ErrorContains(t, err, "GPU is lost")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = awaitMemory(ctx, &fakeGPUs{used: []int64{20 * gib}}, gib, time.Hour, time.Hour)
	assert.ErrorIs(t, err, context.Canceled)
}
