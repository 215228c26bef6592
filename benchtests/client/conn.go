package client

import (
	"net"
	"sync/atomic"
	"time"
)

// stampedConn remembers when bytes last went through a connection. It sits
// under TLS, so that its times are those of the network.
type stampedConn struct {
	net.Conn
	epoch time.Time
	wrote atomic.Int64 // time.Duration: the last Write was entered
	read  atomic.Int64 // time.Duration: the last Read that got bytes returned
}

func (c *stampedConn) Write(p []byte) (int, error) {
	c.wrote.Store(int64(time.Since(c.epoch)))
	return c.Conn.Write(p)
}

func (c *stampedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.read.Store(int64(time.Since(c.epoch)))
	}
	return n, err
}

// unwrap finds the stamped connection in the one that net/http uses.
func unwrap(c net.Conn) *stampedConn {
	for {
		switch v := c.(type) {
		case *stampedConn:
			return v
		case interface{ NetConn() net.Conn }: // *tls.Conn
			c = v.NetConn()
		default:
			return nil
		}
	}
}
