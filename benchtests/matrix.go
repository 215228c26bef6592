package benchtests

import (
	"servebench/results"
)

// cases returns a group's cases in the order they run: tasks, modes, requests
// in flight. The last key of a name is never a model, whose trailing number
// would be read as GOMAXPROCS.
func (o *options) cases(framework, model string) []results.Case {
	var out []results.Case
	for _, task := range o.tasks {
		for _, mode := range o.modes {
			for _, n := range o.parallels {
				out = append(out, results.Case{
					Framework: framework, Model: model, Task: string(task), Mode: string(mode), Parallel: n,
				})
			}
		}
	}
	return out
}
