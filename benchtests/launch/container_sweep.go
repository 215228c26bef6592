package launch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"github.com/moby/moby/client"
	"github.com/shirou/gopsutil/v3/process"
)

// Labels that say which suite a container or network belongs to.
const (
	labelHost  = "servebench.host"  // hostID of its machine
	labelPID   = "servebench.pid"   // of its process there
	labelStart = "servebench.start" // when that began, ms since 1970
)

// startTolerance is how far two readings of when a process began may be apart,
// ms: Linux counts from the boot, whose own time moves as the clock is set.
const startTolerance = 3000

// self is this process as labels tell it.
var self = sync.OnceValue(func() map[string]string {
	labels := map[string]string{labelHost: hostID(), labelPID: strconv.Itoa(os.Getpid())}
	if start, running := processStart(os.Getpid()); running {
		labels[labelStart] = strconv.FormatInt(start, 10)
	}
	return labels
})

func ownLabels(labels map[string]string) {
	for name, value := range self() {
		labels[name] = value
	}
}

// hostID tells where process numbers mean the same: on a machine, in its
// namespace of process numbers. Tests put a place of their own here.
var hostID = thisHost

// thisHost returns a hash, as a machine's id is nobody's business who can only
// list containers.
func thisHost() string {
	name, _ := os.Hostname()
	machine, _ := os.ReadFile("/etc/machine-id")
	namespace, _ := os.Readlink("/proc/self/ns/pid")
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s", name, machine, namespace))
	return hex.EncodeToString(sum[:8])
}

// processStart returns when a process began, ms since 1970, and whether there is one.
func processStart(pid int) (int64, bool) {
	p, err := process.NewProcess(int32(pid))
	if err != nil {
		return 0, false
	}
	start, err := p.CreateTime()
	return start, err == nil
}

// orphaned says whether labels tell of a suite of this machine that is gone. Of
// another machine's, and of labels that cannot be read, nothing is known.
func orphaned(labels map[string]string) bool {
	if labels[labelHost] != hostID() {
		return false
	}
	pid, err := strconv.ParseInt(labels[labelPID], 10, 32)
	if err != nil || pid < 1 {
		return false
	}
	start, err := strconv.ParseInt(labels[labelStart], 10, 64)
	if err != nil {
		return false
	}
	now, running := processStart(int(pid))
	return !running || now > start+startTolerance || now < start-startTolerance
}

// sweep removes what suites of this machine left behind that were killed (see
// doc.go). What cannot be removed is told, and no reason not to start.
func (d *daemon) sweep(ctx context.Context, progress io.Writer) {
	mine := make(client.Filters).Add("label", labelHost+"="+hostID())
	containers, err := d.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	if err != nil {
		fmt.Fprintf(progress, "containers left behind by earlier runs, if any, stay: %v\n", err)
		return
	}
	say := func(what, id string, err error) {
		if err != nil {
			fmt.Fprintf(progress, "left behind by an earlier run, and cannot be removed: %v\n", err)
			return
		}
		fmt.Fprintf(progress, "removed a %s that an earlier run left behind: %s\n", what, id)
	}
	for _, c := range containers.Items {
		if orphaned(c.Labels) {
			say("container", c.ID, d.removeContainer(ctx, c.ID))
		}
	}
	networks, err := d.api.NetworkList(ctx, client.NetworkListOptions{Filters: mine})
	if err != nil {
		fmt.Fprintf(progress, "networks left behind by earlier runs, if any, stay: %v\n", err)
		return
	}
	for _, n := range networks.Items {
		if orphaned(n.Labels) {
			say("network", n.Name, d.removeNetwork(ctx, n.ID))
		}
	}
}
