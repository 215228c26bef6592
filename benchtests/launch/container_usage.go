package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// Usage returns what the container uses now. Of one on this machine the cgroup's
// files are read, which takes microseconds. Elsewhere the daemon is asked, which
// looks once a second: a call then takes up to that long. ErrNoUsage is returned
// by a daemon that has no such figures.
func (c *Container) Usage(ctx context.Context) (ContainerUsage, error) {
	if c.cgroup != nil {
		// An error means that the container is gone, which the daemon says better.
		if u, err := c.cgroup.usage(); err == nil {
			return u, nil
		}
	}
	return c.daemonUsage(ctx)
}

// daemonUsage asks the daemon.
func (c *Container) daemonUsage(ctx context.Context) (ContainerUsage, error) {
	stats, err := c.daemon.api.ContainerStats(ctx, c.name, client.ContainerStatsOptions{})
	if err != nil {
		return ContainerUsage{}, fmt.Errorf("memory and CPU of container %s: %w", c.name, err)
	}
	defer stats.Body.Close()
	u, err := readUsage(stats.Body)
	if err != nil {
		return u, fmt.Errorf("memory and CPU of container %s: %w", c.name, err)
	}
	return u, nil
}

// readUsage reads a daemon's answer.
func readUsage(r io.Reader) (ContainerUsage, error) {
	var stats container.StatsResponse
	if err := json.NewDecoder(r).Decode(&stats); err != nil {
		return ContainerUsage{}, err
	}
	if stats.MemoryStats.Usage == 0 || stats.CPUStats.CPUUsage.TotalUsage == 0 {
		return ContainerUsage{}, ErrNoUsage
	}
	return ContainerUsage{
		MemoryWorkingSet: workingSet(stats.MemoryStats.Usage, stats.MemoryStats.Stats),
		CPU:              time.Duration(stats.CPUStats.CPUUsage.TotalUsage), // ns
	}, nil
}

// workingSet takes the idle file cache off what a cgroup is charged. Of cgroup v1,
// total_inactive_file counts the children too, as usage does; v2 has
// inactive_file, which always does. The two are read one after the other, so
// that the cache may seem the larger.
func workingSet(usage uint64, stats map[string]uint64) int64 {
	idle, v1 := stats["total_inactive_file"]
	if !v1 {
		idle = stats["inactive_file"]
	}
	return int64(usage - min(idle, usage))
}

// cgroup names the files of a container's cgroup.
type cgroup struct {
	memory, stat, cpu string
	v2                bool
}

// findCgroup looks in the folder where cgroups are mounted for that of a
// process, as its /proc/PID/cgroup tells it; nil if it is not seen there, as
// from within another namespace of cgroups.
func findCgroup(root, lines string) *cgroup {
	var g cgroup
	for line := range strings.Lines(lines) {
		part := strings.SplitN(strings.TrimSpace(line), ":", 3) // number:controllers:path
		if len(part) != 3 || strings.Contains(part[2], "..") {
			continue
		}
		switch controllers := "," + part[1] + ","; {
		case strings.Contains(controllers, ",memory,"):
			dir := filepath.Join(root, "memory", part[2])
			g.memory, g.stat = filepath.Join(dir, "memory.usage_in_bytes"), filepath.Join(dir, "memory.stat")
		case strings.Contains(controllers, ",cpuacct,"):
			g.cpu = filepath.Join(root, "cpuacct", part[2], "cpuacct.usage")
		case part[1] == "" && g.memory == "": // also in v1, where it has no files
			dir := filepath.Join(root, part[2])
			if _, err := os.Stat(filepath.Join(dir, "memory.current")); err == nil {
				g = cgroup{filepath.Join(dir, "memory.current"), filepath.Join(dir, "memory.stat"), filepath.Join(dir, "cpu.stat"), true}
			}
		}
	}
	if _, err := g.usage(); err != nil {
		return nil
	}
	return &g
}

// usage reads the files.
func (g *cgroup) usage() (ContainerUsage, error) {
	memory, err := readNumber(g.memory)
	if err != nil {
		return ContainerUsage{}, err
	}
	stats, err := readNumbers(g.stat)
	if err != nil {
		return ContainerUsage{}, err
	}
	u := ContainerUsage{MemoryWorkingSet: workingSet(memory, stats)}
	if !g.v2 {
		ns, err := readNumber(g.cpu)
		u.CPU = time.Duration(ns)
		return u, err
	}
	cpu, err := readNumbers(g.cpu)
	if err != nil {
		return ContainerUsage{}, err
	}
	us, found := cpu["usage_usec"]
	if !found {
		return ContainerUsage{}, errors.New("no usage_usec in " + g.cpu)
	}
	u.CPU = time.Duration(us) * time.Microsecond
	return u, nil
}

// readNumber reads a file that holds one number.
func readNumber(file string) (uint64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(bytes.TrimSpace(data)), 10, 64)
}

// readNumbers reads a file whose lines are a name and a number; others are skipped.
func readNumbers(file string) (map[string]uint64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	numbers := map[string]uint64{}
	for line := range strings.Lines(string(data)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if n, err := strconv.ParseUint(value, 10, 64); err == nil {
			numbers[name] = n
		}
	}
	return numbers, nil
}
