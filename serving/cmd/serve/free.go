package main

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/shirou/gopsutil/v3/mem"
)

// freeMemory returns the bytes that this process may still take: what the
// system has available, or what its control groups leave, if that is less.
func freeMemory() (int64, error) {
	v, err := mem.VirtualMemory()
	if err != nil {
		return 0, err
	}
	free := int64(v.Available)
	if left, ok := cgroupMemory("/sys/fs/cgroup", "/proc/self/cgroup"); ok {
		free = min(free, left)
	}
	return free, nil
}

// A control group's files, in version 2 and 1 of the interface. used counts
// pages of files too; those that were not touched lately, the system takes back.
var cgroupFiles = map[string]struct{ limit, used, inactive string }{
	"2": {"memory.max", "memory.current", "inactive_file"},
	"1": {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"},
}

// cgroupMemory returns what the limits of this process's memory control group
// and of those above it leave; ok is false where there is no limit. root is
// where the groups are mounted, self the list of the process's own. A container
// mounts its own group in the place of the root, so that both are tried.
func cgroupMemory(root, self string) (left int64, ok bool) {
	b, err := os.ReadFile(self)
	if err != nil {
		return 0, false
	}
	for lines := bufio.NewScanner(bytes.NewReader(b)); lines.Scan(); {
		// "0::/path" in version 2, "4:memory:/path" in version 1.
		parts := strings.SplitN(lines.Text(), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mount, version := root, "2"
		switch {
		case parts[0] == "0" && parts[1] == "":
		case strings.Contains(","+parts[1]+",", ",memory,"):
			mount, version = filepath.Join(root, "memory"), "1"
		default:
			continue
		}
		path := filepath.Clean("/" + parts[2])
		for {
			if n, limited := groupMemory(filepath.Join(mount, path), version); limited && (!ok || n < left) {
				left, ok = n, true
			}
			if path == "/" {
				break
			}
			path = filepath.Dir(path)
		}
	}
	return left, ok
}

// groupMemory returns what one group's limit leaves.
func groupMemory(dir, version string) (left int64, ok bool) {
	names := cgroupFiles[version]
	limit, limited := readNumber(filepath.Join(dir, names.limit)) // the word max where there is none
	used, counted := readNumber(filepath.Join(dir, names.used))
	if !limited || !counted {
		return 0, false
	}
	stat, _ := os.ReadFile(filepath.Join(dir, "memory.stat"))
	for line := range strings.SplitSeq(string(stat), "\n") {
		if text, found := strings.CutPrefix(line, names.inactive+" "); found {
			if n, err := strconv.ParseInt(text, 10, 64); err == nil {
				used = max(used-n, 0)
			}
		}
	}
	return max(limit-used, 0), true
}

func readNumber(path string) (int64, bool) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	return n, err == nil
}
