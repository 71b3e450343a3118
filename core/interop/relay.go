package interop

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"

	"mailsplice/core/mailfake"
)

// relay puts a PROXY v2 header in front of every connection and passes it on: the least that reaches a server which
// wants one, without the proxy under test.
type relay struct {
	l    net.Listener
	to   netip.AddrPort
	wg   sync.WaitGroup
	mu   sync.Mutex
	open map[net.Conn]struct{}
	over bool
}

// startRelay listens on ip and passes on to a server. The caller stops it.
func startRelay(ip netip.Addr, to netip.AddrPort) (*relay, error) {
	l, err := net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		return nil, fmt.Errorf("starting relay to %s: %w", to, err)
	}
	r := &relay{l: l, to: to, open: map[net.Conn]struct{}{}}
	r.wg.Add(1)
	go r.accept() // ends when stop closes the listener
	return r, nil
}

func (r *relay) addr() netip.AddrPort { return r.l.Addr().(*net.TCPAddr).AddrPort() }

// stop closes everything and waits.
func (r *relay) stop() {
	_ = r.l.Close()
	r.mu.Lock()
	r.over = true
	for c := range r.open {
		_ = c.Close()
	}
	r.mu.Unlock()
	r.wg.Wait()
}

func (r *relay) accept() {
	defer r.wg.Done()
	for {
		c, err := r.l.Accept()
		if err != nil {
			return
		}
		r.wg.Add(1)
		go r.pass(c.(*net.TCPConn)) // ends with either connection, at the latest by stop
	}
}

// track registers a connection for stop; false when that has come already.
func (r *relay) track(c net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		r.open[c] = struct{}{}
	}
	return !r.over
}

func (r *relay) forget(c net.Conn) {
	r.mu.Lock()
	delete(r.open, c)
	r.mu.Unlock()
	_ = c.Close()
}

func (r *relay) pass(client *net.TCPConn) {
	defer r.wg.Done()
	defer r.forget(client)
	if !r.track(client) {
		return
	}
	conn, err := net.Dial("tcp", r.to.String())
	if err != nil {
		return
	}
	server := conn.(*net.TCPConn)
	defer r.forget(server)
	from := client.RemoteAddr().(*net.TCPAddr).AddrPort()
	if !r.track(server) || mailfake.WriteProxy(server, from, r.addr()) != nil {
		return
	}
	r.wg.Add(1)
	go r.copy(server, client) // ends with either connection
	_, _ = io.Copy(client, server)
	_ = client.CloseWrite()
}

func (r *relay) copy(to, from *net.TCPConn) {
	defer r.wg.Done()
	_, _ = io.Copy(to, from)
	_ = to.CloseWrite()
}
