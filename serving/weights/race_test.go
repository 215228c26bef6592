//go:build race

package weights

// raceEnabled is whether the race detector is on.
const raceEnabled = true
