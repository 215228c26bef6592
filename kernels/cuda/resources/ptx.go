package resources

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Entry is a kernel in PTX.
type Entry struct {
	Symbol  string
	Threads int    // most threads of a block, 0 where it does not say
	Body    string // its instructions
}

var (
	entryStart = regexp.MustCompile(`^\s*(?:\.visible |\.weak )?\s*\.entry\s+([\w$.]+)`)
	maxThreads = regexp.MustCompile(`^\s*\.maxntid\s+(\d+)(?:,\s*(\d+))?(?:,\s*(\d+))?`)
)

// ReadPTX returns the kernels of a PTX file in its order. The functions that they
// call are in none of their bodies: nvcc has inlined what belongs to them.
func ReadPTX(r io.Reader) ([]Entry, error) {
	var all []Entry
	var body strings.Builder
	inside, depth := false, 0 // of an entry; of its braces
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if m := entryStart.FindStringSubmatch(line); m != nil {
			if inside {
				return nil, fmt.Errorf("line %d: a kernel within %s", n, all[len(all)-1].Symbol)
			}
			all = append(all, Entry{Symbol: m[1]})
			inside, depth = true, 0
			body.Reset()
		}
		if !inside {
			continue
		}
		e := &all[len(all)-1]
		if m := maxThreads.FindStringSubmatch(line); m != nil {
			e.Threads = 1
			for _, t := range m[1:] {
				if t == "" {
					continue
				}
				d, err := atoi([]string{t})
				if err != nil {
					return nil, fmt.Errorf("line %d: %w", n, err)
				}
				e.Threads *= d[0]
			}
		}
		// Operands in braces, as {%r1, %r2}, open and close on their line.
		opened := strings.Count(line, "{")
		depth += opened - strings.Count(line, "}")
		if depth > 0 || opened > 0 {
			body.WriteString(line)
			body.WriteByte('\n')
		}
		if depth == 0 && strings.TrimSpace(line) == "}" {
			e.Body, inside = body.String(), false
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if inside {
		return nil, fmt.Errorf("%s has no end", all[len(all)-1].Symbol)
	}
	return all, nil
}
