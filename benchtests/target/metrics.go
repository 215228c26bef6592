package target

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Gauges is where a server tells its load, in Prometheus's text format, and
// under which names; the first name that is there counts, so that versions
// which renamed one are all read. nil: not told.
type Gauges struct {
	Route                     string // "": nowhere
	Running, Waiting, KVCache []string
}

// Metrics is a server's own account of its load. What it does not tell is nil.
type Metrics struct {
	Running *float64 // requests that are computed
	Waiting *float64 // requests that wait to be
	KVCache *float64 // share of the KV cache in use, 0 to 1
}

// Scrape asks a running server for its load. The error is errors.ErrUnsupported
// where the framework does not tell it, or was started so that it does not. A
// nil client is one without keep-alive and proxy.
func (t *Target) Scrape(ctx context.Context, client *http.Client, baseURL string) (Metrics, error) {
	if t.Gauges.Route == "" {
		return Metrics{}, fmt.Errorf("%s does not tell its load: %w", t.Name, errors.ErrUnsupported)
	}
	text, err := ask(ctx, client, http.MethodGet, baseURL, t.Gauges.Route, nil)
	if err != nil {
		return Metrics{}, fmt.Errorf("ask %s for its load: %w", t.Name, unsupported(err))
	}
	m, err := t.Gauges.Parse(text)
	if err != nil {
		return Metrics{}, fmt.Errorf("ask %s for its load: %s: %w", t.Name, t.Gauges.Route, err)
	}
	return m, nil
}

// Parse reads Prometheus's text format. A gauge that has several series, one an
// engine or a rank, is their sum; of a share it is their largest, since that
// rank is full first.
func (g Gauges) Parse(text []byte) (Metrics, error) {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return Metrics{}, err
	}
	sum := func(a, b float64) float64 { return a + b }
	m := Metrics{
		Running: gauge(families, g.Running, sum),
		Waiting: gauge(families, g.Waiting, sum),
		KVCache: gauge(families, g.KVCache, math.Max),
	}
	if m == (Metrics{}) {
		return m, fmt.Errorf("none of %q in %d metrics", append(append(g.Running, g.Waiting...), g.KVCache...), len(families))
	}
	return m, nil
}

// gauge returns the value of the first name that has one, its series put
// together; nil if none has. What is no count and no share is as good as absent.
func gauge(families map[string]*dto.MetricFamily, names []string, together func(a, b float64) float64) *float64 {
	for _, name := range names {
		var value *float64
		for _, series := range families[name].GetMetric() {
			v, ok := number(series)
			switch {
			case !ok || math.IsNaN(v) || math.IsInf(v, 0) || v < 0:
				continue
			case value == nil:
				value = &v
			default:
				v = together(*value, v)
				value = &v
			}
		}
		if value != nil {
			return value
		}
	}
	return nil
}

// number returns a series' value, whatever type it was declared with.
func number(series *dto.Metric) (float64, bool) {
	switch {
	case series.Gauge != nil:
		return series.Gauge.GetValue(), true
	case series.Counter != nil:
		return series.Counter.GetValue(), true
	case series.Untyped != nil:
		return series.Untyped.GetValue(), true
	}
	return 0, false
}
