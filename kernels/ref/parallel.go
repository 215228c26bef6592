package ref

import (
	"runtime"
	"sync"
)

// minWork is the work, in multiply-adds or so, below which starting a
// goroutine (about a microsecond) costs more than it saves.
const minWork = 1 << 14

// spread calls f on ranges that cover 0 … n-1, on up to GOMAXPROCS goroutines.
// cost is the work of one index, in multiply-adds or so.
func spread(n, cost int, f func(lo, hi int)) {
	workers := min(runtime.GOMAXPROCS(0), n, 1+n*cost/minWork)
	if workers <= 1 {
		f(0, n)
		return
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { f(n*w/workers, n*(w+1)/workers) })
	}
	wg.Wait()
}
