package telemetry

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"

	"servebench/results"
)

func TestLoadWatch(t *testing.T) {
	at := func(x float64) *float64 { return &x }
	for name, test := range map[string]struct {
		told []Load
		err  error // behind them
		want results.Usage
		note string
	}{
		"peaks":       {told: []Load{{at(1), at(0), at(.1)}, {at(4), at(2), at(.5)}, {at(3), at(1), at(.4)}}, want: results.Usage{RunningPeak: at(4), WaitingPeak: at(2), KVCachePeak: at(.5)}},
		"in part":     {told: []Load{{Running: at(0)}, {}}, want: results.Usage{RunningPeak: at(0)}},
		"nothing":     {},
		"unsupported": {err: fmt.Errorf("it tells nothing: %w", errors.ErrUnsupported)},
		"broken":      {told: []Load{{Running: at(2)}}, err: errors.New("not Prometheus"), want: results.Usage{RunningPeak: at(2)}, note: "the server's load: not Prometheus"},
	} {
		t.Run(name, func(t *testing.T) {
			i := 0
			w := &loadWatch{ask: func(context.Context) (Load, error) {
				if i < len(test.told) {
					i++
					return test.told[i-1], nil
				}
				return Load{}, test.err
			}}
			for range test.told {
				assert.NoError(t, w.look(t.Context()))
			}
			if test.err != nil {
				w.err = w.look(t.Context())
			}
			var u results.Usage
			w.fill(&u)
			if test.note != "" {
				assert.Equal(t, []string{test.note}, u.Notes)
				u.Notes = nil
			}
			assert.Equal(t, test.want, u)
		})
	}
}

// TestLoadWatchHangs ends a case while the server has not answered.
func TestLoadWatchHangs(t *testing.T) {
	asked := make(chan struct{})
	w := &loadWatch{ask: func(ctx context.Context) (Load, error) {
		close(asked)
		<-ctx.Done()
		return Load{}, ctx.Err()
	}}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-asked
		cancel()
	}()
	w.run(ctx)
	var u results.Usage
	w.fill(&u)
	assert.Equal(t, results.Usage{}, u, "no complaint")
}
