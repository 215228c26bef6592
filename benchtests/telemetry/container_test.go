package telemetry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"servebench/results"
)

func TestWatchContainer(t *testing.T) {
	for name, test := range map[string]struct {
		box    box
		looks  int
		memory int64
		cpu    time.Duration
		note   string
	}{
		"peak and difference":    {box{memory: []int64{5, 9, 7}}, 3, 9, time.Second, ""},
		"fails at once":          {box{err: errors.New("no daemon")}, 1, 0, 0, "what the container takes: no daemon"},
		"fails later":            {box{memory: []int64{5, 9}, err: errors.New("gone")}, 3, 0, 0, "what the container takes: gone"},
		"one answer and no more": {box{memory: []int64{5}}, 1, 5, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := watchContainer(t.Context(), &test.box)
			for range test.looks - 1 {
				w.ask(t.Context())
			}
			var u results.Usage
			w.fill(&u)
			assert.Equal(t, test.memory, u.ContainerMemory)
			assert.Equal(t, test.cpu, u.ContainerCPU)
			if test.note != "" {
				assert.Contains(t, fmt.Sprint(u.Notes), test.note)
			} else {
				assert.Empty(t, u.Notes)
			}
		})
	}
}

// slowBox answers only when it is no longer waited for.
type slowBox struct{ box }

func (b *slowBox) Usage(ctx context.Context) (int64, time.Duration, error) {
	if b.asked == 1 {
		<-ctx.Done()
		b.asked++
		return 0, 0, ctx.Err()
	}
	return b.box.Usage(ctx)
}

// An answer that was under way when the case ended is given up without a
// complaint; a last one is still asked for.
func TestWatchContainerStops(t *testing.T) {
	b := &slowBox{box{memory: []int64{5, 0, 9}}}
	w := watchContainer(t.Context(), b)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w.ask(ctx)
	w.run(ctx)
	var u results.Usage
	w.fill(&u)
	assert.Equal(t, int64(9), u.ContainerMemory)
	assert.Equal(t, time.Second, u.ContainerCPU)
	assert.Empty(t, u.Notes)
}
