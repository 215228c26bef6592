package launch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// maxCPU is the last number that the kernel's usual set of CPUs has room for.
const maxCPU = 1023

// ParseCPUs reads a list of CPUs as the kernel and taskset write it, "0-3,8", and
// returns their numbers in order, each once; "" is none.
func ParseCPUs(list string) ([]int, error) {
	if list == "" {
		return nil, nil
	}
	var cpus []int
	for part := range strings.SplitSeq(list, ",") {
		first, last, isRange := strings.Cut(part, "-")
		a, err := cpuNumber(first)
		b := a
		if err == nil && isRange {
			b, err = cpuNumber(last)
		}
		if err != nil || b < a {
			return nil, fmt.Errorf("%q is no CPU and no range of CPUs: write the list as 0-3,8", part)
		}
		for ; a <= b; a++ {
			cpus = append(cpus, a)
		}
	}
	slices.Sort(cpus)
	return slices.Compact(cpus), nil
}

func cpuNumber(text string) (int, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err == nil && n > maxCPU {
		err = strconv.ErrRange
	}
	return int(n), err
}

// CheckCPUs returns which of the CPUs this process may not use, and could so
// give to no other, as an error.
func CheckCPUs(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	own, err := ownCPUs()
	if err != nil {
		return err
	}
	for _, c := range cpus {
		if !slices.Contains(own, c) {
			return fmt.Errorf("CPU %d is not among those that this process may use: %s", c, FormatCPUs(own))
		}
	}
	return nil
}

// FormatCPUs writes a sorted list as ParseCPUs reads it.
func FormatCPUs(cpus []int) string {
	var parts []string
	for i := 0; i < len(cpus); {
		j := i
		for j+1 < len(cpus) && cpus[j+1] == cpus[j]+1 {
			j++
		}
		part := strconv.Itoa(cpus[i])
		if j > i {
			part += "-" + strconv.Itoa(cpus[j])
		}
		parts, i = append(parts, part), j+1
	}
	return strings.Join(parts, ",")
}
