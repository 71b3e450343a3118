package redis

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"path"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// fake is a server that knows the few commands a Store sends. It checks nothing but the form of requests.
type fake struct {
	t        *testing.T
	addr     string
	hello    string // how HELLO 3 is refused; empty: it is not
	tracking string // how CLIENT TRACKING is refused; empty: it is not

	mu       sync.Mutex
	listener net.Listener
	data     map[string]string
	conns    map[*fakeConn]bool
	greeted  int // HELLO without arguments, a sign of life of who listens
	serving  sync.WaitGroup
}

// fakeConn is one connection to it.
type fakeConn struct {
	net.Conn
	out      *bufio.Writer // guarded by the fake's mu
	resp3    bool
	prefix   *string // set: it wants notices
	pending  [][]string
	queueing bool
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, data: map[string]string{}, conns: map[*fakeConn]bool{}}
	f.start()
	t.Cleanup(f.stop)
	return f
}

// start listens, at the same address as before.
func (f *fake) start() {
	f.t.Helper()
	if f.addr == "" {
		f.addr = "127.0.0.1:0"
	}
	l, err := net.Listen("tcp", f.addr)
	if err != nil {
		f.t.Fatal(err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.listener, f.addr = l, l.Addr().String()
	f.serving.Go(func() { f.accept(l) }) // until stop
}

// stop ends all connections.
func (f *fake) stop() {
	f.mu.Lock()
	f.listener.Close()
	for c := range f.conns {
		c.Close()
	}
	f.mu.Unlock()
	f.serving.Wait()
}

func (f *fake) accept(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		fc := &fakeConn{Conn: c, out: bufio.NewWriter(c)}
		f.mu.Lock()
		f.conns[fc] = true
		f.mu.Unlock()
		f.serving.Go(func() { f.serve(fc) }) // until stop
	}
}

func (f *fake) serve(c *fakeConn) {
	defer func() {
		c.Close()
		f.mu.Lock()
		delete(f.conns, c)
		f.mu.Unlock()
	}()
	in := bufio.NewReader(c)
	for {
		args, err := request(in)
		if err != nil {
			return
		}
		f.mu.Lock()
		f.command(c, args)
		c.out.Flush()
		f.mu.Unlock()
	}
}

// request reads an array of bulk strings.
func request(in *bufio.Reader) ([]string, error) {
	n, err := number(in, '*')
	if err != nil {
		return nil, err
	}
	args := make([]string, n)
	for i := range args {
		size, err := number(in, '$')
		if err != nil {
			return nil, err
		}
		b := make([]byte, size+2)
		if _, err := io.ReadFull(in, b); err != nil {
			return nil, err
		}
		args[i] = string(b[:size])
	}
	return args, nil
}

func number(in *bufio.Reader, kind byte) (int, error) {
	line, err := in.ReadString('\n')
	if err != nil || line[0] != kind {
		return 0, fmt.Errorf("got %q, want %c: %v", line, kind, err)
	}
	return strconv.Atoi(strings.TrimSpace(line[1:]))
}

func bulk(s string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(s), s) }

// command answers one request. The caller holds mu.
func (f *fake) command(c *fakeConn, args []string) {
	name := strings.ToUpper(args[0])
	if c.queueing && name != "EXEC" {
		c.pending = append(c.pending, args)
		c.out.WriteString("+QUEUED\r\n")
		return
	}
	switch name {
	case "HELLO":
		f.greet(c, args[1:])
	case "CLIENT":
		f.track(c, args[1:])
	case "MULTI":
		c.queueing = true
		c.out.WriteString("+OK\r\n")
	case "EXEC":
		fmt.Fprintf(c.out, "*%d\r\n", len(c.pending))
		c.queueing = false
		for _, args := range c.pending {
			f.run(c, args)
		}
		c.pending = nil
	default:
		f.run(c, args)
	}
}

func (f *fake) greet(c *fakeConn, args []string) {
	asked3 := len(args) > 0 && args[0] == "3"
	if f.hello != "" && (asked3 || strings.Contains(f.hello, "unknown")) {
		c.out.WriteString(f.hello + "\r\n")
		return
	}
	c.resp3 = c.resp3 || asked3
	if len(args) == 0 {
		f.greeted++
	}
	kind, proto := "*8", 2
	if c.resp3 {
		kind, proto = "%4", 3
	}
	fmt.Fprintf(c.out, "%s\r\n%s%s%s:%d\r\n%s%s%s%s", kind, bulk("version"), bulk("7.0.15"), bulk("proto"), proto,
		bulk("role"), bulk("master"), bulk("mode"), bulk("standalone"))
}

func (f *fake) track(c *fakeConn, args []string) {
	switch {
	case args[0] != "TRACKING":
		c.out.WriteString("-ERR unknown subcommand\r\n")
	case f.tracking != "":
		c.out.WriteString(f.tracking + "\r\n")
	default:
		prefix := ""
		if len(args) == 5 {
			prefix = args[4]
		}
		c.prefix = &prefix
		c.out.WriteString("+OK\r\n")
	}
}

// run runs a command on the data.
func (f *fake) run(c *fakeConn, args []string) {
	switch name := strings.ToUpper(args[0]); name {
	case "AUTH":
		c.out.WriteString("+OK\r\n")
	case "PING":
		c.out.WriteString("+PONG\r\n")
	case "GET":
		f.get(c, args[1])
	case "SET", "MSET":
		for i := 1; i < len(args); i += 2 {
			f.data[args[i]] = args[i+1]
			f.tell(args[i])
		}
		c.out.WriteString("+OK\r\n")
	case "DEL":
		n := 0
		for _, key := range args[1:] {
			if _, ok := f.data[key]; ok {
				n++
			}
			delete(f.data, key)
			f.tell(key)
		}
		fmt.Fprintf(c.out, ":%d\r\n", n)
	case "SCAN":
		f.scan(c, args[3])
	default: // CLUSTER, too
		fmt.Fprintf(c.out, "-ERR unknown command '%s', with args beginning with: '%s'\r\n", args[0], strings.Join(args[1:], "' '"))
	}
}

func (f *fake) get(c *fakeConn, key string) {
	value, ok := f.data[key]
	switch {
	case strings.HasPrefix(value, "-"):
		c.out.WriteString(value + "\r\n")
	case ok:
		c.out.WriteString(bulk(value))
	case c.resp3:
		c.out.WriteString("_\r\n")
	default:
		c.out.WriteString("$-1\r\n")
	}
}

// scan answers everything at once.
func (f *fake) scan(c *fakeConn, pattern string) {
	var keys []string
	for key := range f.data {
		if ok, err := path.Match(pattern, key); ok && err == nil {
			keys = append(keys, bulk(key))
		}
	}
	fmt.Fprintf(c.out, "*2\r\n%s*%d\r\n%s", bulk("0"), len(keys), strings.Join(keys, ""))
}

// tell sends notices of a change. The caller holds mu.
func (f *fake) tell(key string) {
	for c := range f.conns {
		if c.prefix != nil && strings.HasPrefix(key, *c.prefix) {
			fmt.Fprintf(c.out, ">2\r\n%s*1\r\n%s", bulk("invalidate"), bulk(key))
			c.out.Flush()
		}
	}
}

// flush empties the server and says so.
func (f *fake) flush() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.data)
	for c := range f.conns {
		if c.prefix != nil {
			fmt.Fprintf(c.out, ">2\r\n%s_\r\n", bulk("invalidate"))
			c.out.Flush()
		}
	}
}

// set writes a key, as anybody may.
func (f *fake) set(key, value string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.data[key] = value
	f.tell(key)
}

func (f *fake) keys() map[string]string {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := map[string]string{}
	for k, v := range f.data {
		m[k] = v
	}
	return m
}
