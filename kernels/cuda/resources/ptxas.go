package resources

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
)

// said is what ptxas -v says of one kernel on one architecture.
type said struct {
	symbol, arch         string
	registers            int
	stack, stores, loads int // bytes of a thread
	shared               int // static, bytes of a block
	properties, used     bool
}

// The lines of ptxas -v. Between a kernel's first line and its "Used" come the
// properties of its stack. Functions that were not inlined have properties too,
// under their own name.
var (
	entryLine      = regexp.MustCompile(`^ptxas info\s*: Compiling entry function '([^']+)' for '([^']+)'`)
	propertiesLine = regexp.MustCompile(`^ptxas info\s*: Function properties for (\S+)`)
	stackLine      = regexp.MustCompile(`^\s*(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads`)
	usedLine       = regexp.MustCompile(`^ptxas info\s*: Used (\d+) registers`)
	sharedPart     = regexp.MustCompile(`\b(\d+) bytes smem`)
)

// readPtxas reads what ptxas -v printed, of all architectures. It is an error if a
// kernel's figures are missing: a changed format is not a kernel that takes nothing.
func readPtxas(r io.Reader) ([]said, error) {
	var all []said
	var of string // whose stack the next line has
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if m := entryLine.FindStringSubmatch(line); m != nil {
			all = append(all, said{symbol: m[1], arch: m[2]})
			of = m[1]
			continue
		}
		if m := propertiesLine.FindStringSubmatch(line); m != nil {
			of = m[1]
			continue
		}
		if len(all) == 0 {
			continue
		}
		k := &all[len(all)-1]
		if m := stackLine.FindStringSubmatch(line); m != nil {
			numbers, err := atoi(m[1:])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			if of == k.symbol {
				k.properties = true
			}
			// What a function that it calls spills is the kernel's loss as well.
			k.stack, k.stores, k.loads = max(k.stack, numbers[0]), k.stores+numbers[1], k.loads+numbers[2]
			continue
		}
		if m := usedLine.FindStringSubmatch(line); m != nil {
			numbers, err := atoi(m[1:])
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			k.registers, k.used = numbers[0], true
			if m := sharedPart.FindStringSubmatch(line); m != nil {
				if numbers, err = atoi(m[1:]); err != nil {
					return nil, fmt.Errorf("line %d: %w", n, err)
				}
				k.shared = numbers[0]
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	for _, k := range all {
		if !k.properties || !k.used {
			return nil, fmt.Errorf("%s for %s: ptxas did not say what it uses: another format of ptxas -v than that of CUDA 12 and 13?", k.symbol, k.arch)
		}
	}
	return all, nil
}

func atoi(texts []string) ([]int, error) {
	numbers := make([]int, len(texts))
	var errs []error
	for i, t := range texts {
		n, err := strconv.Atoi(t)
		numbers[i], errs = n, append(errs, err)
	}
	return numbers, errors.Join(errs...)
}
