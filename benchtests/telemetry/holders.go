package telemetry

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
)

// Holder is a process that holds memory of the GPUs.
type Holder struct {
	PID    int    // as the machine numbers it; inside a container that is another number
	Name   string // of its program; "" where that cannot be seen from here
	Memory int64  // bytes, on all of the GPUs
}

func (h Holder) String() string {
	return fmt.Sprintf("process %d (%s, %d MiB)", h.PID, cmp.Or(h.Name, "not to be seen from here"), h.Memory>>20)
}

// Holders returns the processes with memory on the GPUs, the largest first.
func (g *GPUs) Holders() ([]Holder, error) {
	var held []Holder
	for i := range g.devices {
		procs, err := g.devices[i].processes()
		if err != nil {
			return nil, fmt.Errorf("processes on %s: %w", g.devices[i].label, err)
		}
		for _, p := range procs {
			at := slices.IndexFunc(held, func(h Holder) bool { return h.PID == p.pid })
			if at < 0 {
				at = len(held)
				held = append(held, Holder{PID: p.pid, Name: programOf(p.pid)})
			}
			held[at].Memory += p.memory
		}
	}
	slices.SortStableFunc(held, func(a, b Holder) int { return cmp.Compare(b.Memory, a.Memory) })
	return held, nil
}

// programOf returns the name of the program of a process that the driver names, ""
// where there is no such process here: on other systems than Linux, and in a
// container, where the number is another process's.
func programOf(pid int) string {
	if !hostProcessNumbers() {
		return ""
	}
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(name))
}
