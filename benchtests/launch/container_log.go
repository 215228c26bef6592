package launch

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
)

// hiddenError is an error without the secrets in its text. errors.Is and As see
// the whole of it.
type hiddenError struct {
	error
	text string
}

func (e *hiddenError) Error() string { return e.text }
func (e *hiddenError) Unwrap() error { return e.error }

// conceal takes secrets out of an error's text: a daemon may repeat what it was sent.
func (c *ContainerCommand) conceal(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, secret := range longestFirst(c.SecretEnv) {
		text = strings.ReplaceAll(text, string(secret), hidden)
	}
	if text == err.Error() {
		return err
	}
	return &hiddenError{err, text}
}

// serverLog is a server's log without its secrets. What may be the beginning of
// one is held back until more comes.
type serverLog struct {
	mu      sync.Mutex
	file    *os.File
	secrets [][]byte
	held    []byte
}

func newLog(path string, secrets map[string]Secret) (*serverLog, error) {
	if err := makeFolder(path); err != nil {
		return nil, err
	}
	file, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	return &serverLog{file: file, secrets: longestFirst(secrets)}, nil
}

// longestFirst orders secrets so that none is taken for another that it begins with.
func longestFirst(secrets map[string]Secret) [][]byte {
	var values [][]byte
	for _, s := range secrets {
		values = append(values, []byte(s))
	}
	slices.SortFunc(values, func(a, b []byte) int { return len(b) - len(a) })
	return values
}

// Write implements io.Writer.
func (l *serverLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var clean []byte
	clean, l.held = l.clean(append(l.held, p...), false)
	_, err := l.file.Write(clean)
	return len(p), err
}

// clean returns data without secrets, from the left, and the end of it that
// more may make one of; last says that no more comes.
func (l *serverLog) clean(data []byte, last bool) (clean, held []byte) {
	if len(l.secrets) == 0 {
		return data, nil
	}
	clean = make([]byte, 0, len(data))
	for len(data) > 0 {
		found := 0
		for _, s := range l.secrets { // the longest first
			if len(data) < len(s) && bytes.HasPrefix(s, data) && !last {
				return clean, bytes.Clone(data)
			}
			if bytes.HasPrefix(data, s) {
				found = len(s)
				break
			}
		}
		if found > 0 {
			clean, data = append(clean, hidden...), data[found:]
			continue
		}
		clean, data = append(clean, data[0]), data[1:]
	}
	return clean, nil
}

// Close writes what was held back, and closes the file. It may be called again.
func (l *serverLog) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	clean, _ := l.clean(l.held, true)
	l.held = nil
	_, err := l.file.Write(clean)
	if errors.Is(err, os.ErrClosed) {
		return nil
	}
	return errors.Join(err, l.file.Close())
}

// How long the end of a log may take to arrive once the server has ended, and
// how often and when an answer of the daemon is tried again.
const (
	logEnds     = 10 * time.Second
	watchTries  = 5
	watchPauses = time.Second
)

// watch writes the log and waits for the end, then closes exited.
func (c *Container) watch(log *serverLog) {
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		c.follow(log)
	}()
	c.code, c.state = c.wait()
	select {
	case <-logged:
	case <-time.After(logEnds):
	case <-c.watched.Done():
	}
	log.Close()
	close(c.exited)
}

// follow copies the log until the container ends.
func (c *Container) follow(log *serverLog) {
	stream, err := c.daemon.api.ContainerLogs(c.watched, c.name, client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Follow: true})
	if err == nil {
		defer stream.Close()
		_, err = stdcopy.StdCopy(log, log, stream)
	}
	if err != nil && c.watched.Err() == nil {
		fmt.Fprintf(log, "\nservebench: the daemon gives no more of the log: %v\n", err)
	}
}

// wait returns the exit status and how the container ended.
func (c *Container) wait() (int64, error) {
	var err error
	for try := range watchTries {
		if try > 0 {
			select {
			case <-time.After(watchPauses):
			case <-c.watched.Done():
			}
		}
		wait := c.daemon.api.ContainerWait(c.watched, c.name, client.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
		select {
		case r := <-wait.Result:
			return r.StatusCode, c.ended(r.StatusCode)
		case err = <-wait.Error:
			if c.watched.Err() != nil || errdefs.IsNotFound(err) {
				return 0, errors.New("the container was removed")
			}
		}
	}
	return 0, fmt.Errorf("the daemon cannot say any more whether it runs: %w", err)
}

// ended says how a container ended, by its exit status and what the daemon knows.
func (c *Container) ended(code int64) error {
	info, err := c.handle.Inspect(c.watched)
	if err == nil && info.State != nil && info.State.OOMKilled {
		return fmt.Errorf("exit status %d, killed for want of memory", code)
	}
	if err == nil && info.State != nil && info.State.Error != "" {
		return fmt.Errorf("exit status %d: %s", code, info.State.Error)
	}
	return fmt.Errorf("exit status %d", code)
}
