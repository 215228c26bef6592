package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
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
	Dir   string   // folder it runs in, which is made; "" is this process's
	Log   string   // file for its standard output and error; its folder is made
	URL   string   // base URL that it will serve
	Ready string   // route that answers 2xx once it can serve
	// Workers says that the program starts processes outside its group, and
	// ends them when it gets SIGTERM and no other way.
	Workers bool

	StartTimeout time.Duration // from start to ready; 0 is DefaultStartTimeout
	StopTimeout  time.Duration // from SIGTERM to SIGKILL; 0 is DefaultStopTimeout
}

// Process is a server that this process started.
type Process struct {
	cmd    Command
	exec   *exec.Cmd
	group  *group
	exited chan struct{} // closed when the leader is reaped and its group killed
	state  error         // how it ended; read it after exited
	stop   sync.Once
	err    error // of Stop
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
	if err := waitReady(ctx, c.URL+c.Ready, c.StartTimeout, p.exited); err != nil {
		if errors.Is(err, ErrExited) {
			err = p.Err()
		}
		p.Stop()
		return nil, fmt.Errorf("start %s: %w\nlast lines of %s:\n%s", c.Path, err, c.Log, p.LogTail())
	}
	return p, nil
}

// spawn starts the process and the goroutine that keeps its thread and reaps it.
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
	defer log.Close() // the process has its own
	p := &Process{cmd: c, exited: make(chan struct{})}
	p.exec = exec.Command(c.Path, c.Args...)
	p.exec.Dir = c.Dir
	p.exec.Env = append(os.Environ(), c.Env...)
	p.exec.Stdout, p.exec.Stderr = log, log // files: Wait waits for no pipe
	prepare(p.exec, c.Workers)

	started := make(chan error)
	go func() {
		// The thread that starts the process must outlive it: see doc.go.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.exec.Start()
		if err == nil {
			p.group = newGroup(p.exec)
		}
		started <- err
		if err != nil {
			return
		}
		p.group.reap()
		p.state = errors.New(p.exec.ProcessState.String())
		close(p.exited)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// URL implements Server.
func (p *Process) URL() string { return p.cmd.URL }

// PID implements Server.
func (p *Process) PID() int { return p.exec.Process.Pid }

// Exited implements Server.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Err returns how the process ended; nil while it runs.
func (p *Process) Err() error {
	select {
	case <-p.exited:
		return fmt.Errorf("%w: %w", ErrExited, p.state)
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
	p.group.terminate()
	grace := time.NewTimer(p.cmd.StopTimeout)
	defer grace.Stop()
	select {
	case <-p.exited:
		return nil
	case <-grace.C:
	}
	p.group.kill()
	grace.Reset(p.cmd.StopTimeout)
	select {
	case <-p.exited:
		return fmt.Errorf("%s did not end within %v of SIGTERM and was killed", p.cmd.Path, p.cmd.StopTimeout)
	case <-grace.C:
		return fmt.Errorf("%s (process %d) did not even end within %v of SIGKILL", p.cmd.Path, p.PID(), p.cmd.StopTimeout)
	}
}

// Lines and bytes of a log that an error shows.
const (
	tailLines = 20
	tailBytes = 8 << 10
)

// LogTail implements Server.
func (p *Process) LogTail() string { return logTail(p.cmd.Log) }

// logTail returns the last lines of a log.
func logTail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > tailBytes {
		f.Seek(-tailBytes, io.SeekEnd)
	}
	data := make([]byte, tailBytes)
	n, _ := io.ReadFull(f, data)
	text := strings.TrimSpace(strings.ToValidUTF8(string(data[:n]), "�"))
	if text == "" {
		return "(it is empty)"
	}
	lines := strings.Split(text, "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}
