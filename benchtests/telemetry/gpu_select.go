package telemetry

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"servebench/results"
)

// noInstance is the instance of a GPU that is not partitioned.
const noInstance = -1

// unit is a GPU, or an instance of a partitioned one.
type unit struct {
	index    int    // of the GPU, in the order of the PCI bus
	instance int    // of a partitioned one, else noInstance
	uuid     string // "" if the driver does not tell
	parent   string // of an instance: the UUID of its GPU
}

// name is what a list calls it: "0", or "0:1" for an instance.
func (u *unit) name() string {
	if u.instance == noInstance {
		return strconv.Itoa(u.index)
	}
	return fmt.Sprintf("%d:%d", u.index, u.instance)
}

// about is what the environment calls it.
func (u *unit) about() results.GPU {
	g := results.GPU{Index: u.index, UUID: u.uuid}
	if u.instance != noInstance {
		g.Instance = &u.instance
	}
	return g
}

// matches reports whether an item of a list selects it.
func (u *unit) matches(item string) bool {
	if item == u.name() || item == strconv.Itoa(u.index) {
		return true
	}
	if !strings.HasPrefix(item, "GPU-") && !strings.HasPrefix(item, "MIG-") {
		return false
	}
	return strings.HasPrefix(u.uuid, item) || strings.HasPrefix(u.parent, item)
}

// selectGPUs returns which of the units a list selects, in the list's order.
func selectGPUs(units []unit, list string) (chosen []int, err error) {
	all := cmp.Or(strings.TrimSpace(list), AllGPUs) == AllGPUs
	for item := range strings.SplitSeq(list, ",") {
		item = strings.TrimSpace(item)
		before := len(chosen)
		for i := range units {
			if !all && !units[i].matches(item) {
				continue
			}
			if slices.Contains(chosen, i) {
				return nil, fmt.Errorf("the list of GPUs %q has %s twice", list, units[i].name())
			}
			chosen = append(chosen, i)
		}
		found := chosen[before:]
		if len(found) == 0 {
			return nil, fmt.Errorf("the list of GPUs %q: there is no %q, there are %s", list, item, names(units))
		}
		if first, last := found[0], found[len(found)-1]; !all && units[first].index != units[last].index {
			return nil, fmt.Errorf("the list of GPUs %q: %q begins the UUIDs of several: %s", list, item, names(units[first:last+1]))
		}
	}
	return chosen, nil
}

func names(units []unit) string {
	var names []string
	for i := range units {
		name := units[i].name()
		if units[i].uuid != "" {
			name += " (" + units[i].uuid + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
