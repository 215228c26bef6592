package hub

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// lineEvery is the time between two lines about a download where there is no terminal.
const lineEvery = 10 * time.Second

// logging keeps lines of several goroutines apart.
var logging sync.Mutex

func (c *Client) log() io.Writer {
	if c.Log != nil {
		return c.Log
	}
	return os.Stderr
}

// note writes a line for people.
func (c *Client) note(format string, args ...any) {
	logging.Lock()
	defer logging.Unlock()
	start := ""
	if c.terminal() != nil {
		start = "\r\x1b[K" // where a bar may stand; it draws itself anew
	}
	_, _ = fmt.Fprintf(c.log(), start+"hub: "+format+"\n", args...)
}

// terminal returns the log if it is one, else nil.
func (c *Client) terminal() *os.File {
	if f, ok := c.log().(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// worthShowing is the size from which a download is shown.
const worthShowing = 1 << 20

// meter shows how far a download is: a bar on a terminal, else a line now and then.
type meter struct {
	client     *Client
	name       string
	size, have int64
	fetched    int64 // since begin
	begin      time.Time
	last       time.Time
	bar        *progressbar.ProgressBar
}

func (c *Client) meter(name string, size, have int64) *meter {
	m := &meter{client: c, name: name, size: size, have: have, begin: time.Now(), last: time.Now()}
	if size < worthShowing {
		return m
	}
	if f := c.terminal(); f != nil {
		m.bar = progressbar.NewOptions64(size, progressbar.OptionSetWriter(f), progressbar.OptionSetDescription(name),
			progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionFullWidth())
		_ = m.bar.Set64(have)
	} else {
		c.note("%s: %s of %s to download", name, megabytes(size-have), megabytes(size))
	}
	return m
}

// add counts bytes that arrived, or, negative, that were thrown away.
func (m *meter) add(n int64) {
	m.have += n
	m.fetched += max(n, 0)
	switch {
	case m.bar != nil:
		_ = m.bar.Set64(min(m.have, m.size))
	case time.Since(m.last) >= lineEvery:
		m.last = time.Now()
		m.client.note("%s: %s of %s", m.name, megabytes(m.have), megabytes(m.size))
	}
}

// stop ends the bar's line.
func (m *meter) stop() {
	if m.bar != nil {
		logging.Lock()
		defer logging.Unlock()
		_ = m.bar.Exit()
		_, _ = fmt.Fprintln(m.client.log())
	} else if m.size >= worthShowing && m.have == m.size {
		m.client.note("%s: done, %s in %v", m.name, megabytes(m.fetched), time.Since(m.begin).Round(time.Second/10))
	}
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
