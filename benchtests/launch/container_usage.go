package launch

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// Usage returns what the container uses now, by the daemon's figures. One call
// is one request, which the daemon answers from the cgroup's files at once.
func (c *Container) Usage(ctx context.Context) (ContainerUsage, error) {
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

// readUsage reads a daemon's answer. Of cgroup v1, total_inactive_file counts the
// children too, as usage does; v2 has inactive_file, which always does.
func readUsage(r io.Reader) (ContainerUsage, error) {
	var stats container.StatsResponse
	if err := json.NewDecoder(r).Decode(&stats); err != nil {
		return ContainerUsage{}, err
	}
	memory := stats.MemoryStats
	if memory.Usage == 0 || stats.CPUStats.CPUUsage.TotalUsage == 0 {
		return ContainerUsage{}, ErrNoUsage
	}
	idle, v1 := memory.Stats["total_inactive_file"]
	if !v1 {
		idle = memory.Stats["inactive_file"]
	}
	return ContainerUsage{
		MemoryWorkingSet: int64(memory.Usage - min(idle, memory.Usage)),
		CPU:              time.Duration(stats.CPUStats.CPUUsage.TotalUsage), // ns
	}, nil
}
