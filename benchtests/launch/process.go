package launch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// What Command leaves zero.
const (
	DefaultStartTimeout = 10 * time.Minute
	DefaultStopTimeout  = 20 * time.Second // servers give their running requests ten
)

// Command says how to run a server as a local process.
type Command struct {
	Path  string   // program
	Args  []string // without the program's name
	Env   []string // added to this process's, "KEY=value"
	Drop  []string // names of this process's variables that it does not get
	Dir   string   // folder it runs in, which is made; "" is this process's
	CPUs  []int    // that all its processes are bound to; empty: those of this process. Linux only
	Log   string   // file for its standard output and error; its folder is made
	URL   string   // base URL that it will serve
	Ready string   // route that answers 2xx once it can serve

	StartTimeout time.Duration // from start to ready; 0 is DefaultStartTimeout
	StopTimeout  time.Duration // from SIGTERM to SIGKILL; 0 is DefaultStopTimeout
}

// environ returns the variables of the server, each once.
func (c *Command) environ() []string {
	drop := slices.Clone(c.Drop)
	for _, v := range c.Env {
		drop = append(drop, name(v))
	}
	own := slices.DeleteFunc(os.Environ(), func(v string) bool { return slices.Contains(drop, name(v)) })
	return append(own, c.Env...)
}

// name returns the name of a variable.
func name(variable string) string {
	name, _, _ := strings.Cut(variable, "=")
	return name
}

// Process is a server that this process started.
type Process struct {
	cmd  Command
	tree *tree
	stop sync.Once
	err  error // of Stop
}

// Start runs the command and waits until it is ready. On an error nothing is
// left running.
func Start(ctx context.Context, c Command) (*Process, error) {
	if c.StartTimeout == 0 {
		c.StartTimeout = DefaultStartTimeout
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = DefaultStopTimeout
	}
	p, err := spawn(c)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Path, err)
	}
	if err := waitReady(ctx, c.URL+c.Ready, c.StartTimeout, p.tree.ended); err != nil {
		if errors.Is(err, ErrExited) {
			err = p.Err()
		}
		p.Stop()
		return nil, fmt.Errorf("start %s: %w\nlast lines of %s:\n%s", c.Path, err, c.Log, p.LogTail())
	}
	return p, nil
}

// spawn starts the server's processes.
func spawn(c Command) (*Process, error) {
	if err := os.MkdirAll(filepath.Dir(c.Log), 0o755); err != nil {
		return nil, err
	}
	if c.Dir != "" {
		if err := os.MkdirAll(c.Dir, 0o755); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(c.Log)
	if err != nil {
		return nil, err
	}
	defer log.Close() // the processes have their own
	t, err := startTree(c, c.environ(), log)
	if err != nil {
		return nil, err
	}
	return &Process{cmd: c, tree: t}, nil
}

// URL implements Server.
func (p *Process) URL() string { return p.cmd.URL }

// PID implements Server.
func (p *Process) PID() int { return p.tree.pid }

// Exited implements Server.
func (p *Process) Exited() <-chan struct{} { return p.tree.ended }

// Err returns how the process ended; nil while it runs.
func (p *Process) Err() error {
	select {
	case <-p.tree.ended:
		return fmt.Errorf("%w: %w", ErrExited, p.tree.state)
	default:
		return nil
	}
}

// Stop implements Server. It returns an error when the process had ended
// before, or had to be killed.
func (p *Process) Stop() error {
	p.stop.Do(func() { p.err = p.end() })
	return p.err
}

func (p *Process) end() error {
	if err := p.Err(); err != nil {
		return err
	}
	p.tree.terminate()
	grace := time.NewTimer(p.cmd.StopTimeout)
	defer grace.Stop()
	select {
	case <-p.tree.ended:
		return nil
	case <-grace.C:
	}
	p.tree.kill()
	grace.Reset(DefaultStopTimeout)
	select {
	case <-p.tree.ended:
		return fmt.Errorf("%s did not end within %v of SIGTERM and was killed", p.cmd.Path, p.cmd.StopTimeout)
	case <-grace.C:
		return fmt.Errorf("%s (process %d) did not even end within %v of SIGKILL", p.cmd.Path, p.PID(), DefaultStopTimeout)
	}
}

// LogTail implements Server.
func (p *Process) LogTail() string { return logTail(p.cmd.Log) }
