package results

import (
	"time"

	"github.com/aclements/go-moremath/stats"
)

// sample collects the values that a mean or a percentile is taken of.
type sample struct {
	xs     []float64
	sorted bool
}

func (s *sample) add(x float64) {
	s.xs = append(s.xs, x)
	s.sorted = false
}

// addTime adds a duration, in nanoseconds.
func (s *sample) addTime(d time.Duration) { s.add(float64(d)) }

func (s *sample) mean() float64 { return stats.Mean(s.xs) }

// quantile returns the q-quantile, 0 ≤ q ≤ 1, and false for an empty sample.
//
// It is Hyndman and Fan's definition 8, the one benchstat's own library has:
// with n sorted values, linear interpolation at rank q·(n + 1/3) + 1/3 (from
// 1), held within the sample. It is median-unbiased whatever the
// distribution; NumPy calls it method="median_unbiased". NumPy's default
// (definition 7) puts the 99th percentile of 100 values below this one.
// Of up to 66 values the 99th percentile is the largest.
func (s *sample) quantile(q float64) (float64, bool) {
	if len(s.xs) == 0 {
		return 0, false
	}
	x := stats.Sample{Xs: s.xs, Sorted: s.sorted}
	if !s.sorted {
		x.Sort()
		s.sorted = true
	}
	return x.Quantile(q), true
}
