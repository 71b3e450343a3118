package bridge

import (
	"crypto/tls"
	"fmt"
	"io"
	"math"
	mrand "math/rand/v2"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
	"mailsplice/tlsx/ktls"
	"mailsplice/tlsx/record"
	"mailsplice/tlsx/tlstest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		fmt.Printf("ktls: sessions in lane ktls: %d, through pipes: %d bytes\n", kernelSessions.Load(), pipedBytes.Load())
		os.Exit(code)
	}))
}

// What all rigs have seen together, for the count of make test-ktls.
var kernelSessions, pipedBytes atomic.Int64

// patience bounds every wait of a test. It is generous: the race detector on a busy machine is slow.
const patience = 60 * time.Second

// rig is an engine of two loops with a bridge on each.
type rig struct {
	t       testing.TB
	engine  *engine.Engine
	bridges []*Bridge
	stash   *Budget
	pipes   *Pipes
	o       rigOptions
	ended   chan ending
	reached [Lanes]atomic.Int64
	lastTag atomic.Uint64
	far     []net.Conn
}

type ending struct {
	tag uint64
	Report
}

type rigOptions struct {
	idle, halfClosed time.Duration
	stashBytes       int64
	lanes            [2]Lane       // of the legs that rig.join makes, and whether plain ones are spliced whatever moves
	pipes            int           // 0: as many as usual
	wary             bool          // splices as outside of tests: when full buffers move
	suite            tlstest.Suite // of legs in TLS; the zero one: TLS 1.3 with AES-128
}

func (o *rigOptions) has(lane Lane) bool { return o.lanes[client] == lane || o.lanes[backend] == lane }

// splice tells that all that can be spliced is.
func (o *rigOptions) splice() bool { return o.has(LaneSplice) || o.has(LaneKTLS) }

// kernel is what the kernel that the tests run on can do; nil: nothing. With MAILSPLICE_KTLS=1, which make test-ktls sets in
// its virtual machines, it must be all; elsewhere the tests that need it say so.
var kernel = sync.OnceValue(func() *ktls.Support {
	s := ktls.Probe()
	if missing := s.Missing(); len(missing) > 0 && emulated {
		panic(fmt.Sprint("this kernel cannot: ", missing))
	} else if len(missing) > 0 {
		return nil
	}
	return s
})

// emulated says that the tests run on an emulated CPU, a tenth as fast: what needs no kernel TLS is cut short there.
var emulated = os.Getenv("MAILSPLICE_KTLS") == "1"

// inKernelOnly tells whether the test can run.
func inKernelOnly(t testing.TB) bool {
	if kernel() == nil {
		t.Log("NOT RUN HERE: this kernel has no TLS (or not all of it); make test-ktls runs it in kernels that have")
	}
	return kernel() != nil
}

// mostStash is what one direction of a session pins at most: one move, or one buffer and a partial record.
func (o *rigOptions) mostStash() int64 {
	if o.splice() {
		return spliceBytes
	}
	return (64 + 32) << 10
}

// overLanes runs a test over every pair of lanes, each other's oracle (DESIGN 3.11). The rig asserts at its end that the
// sessions were in the lanes they were meant for.
func overLanes(t *testing.T, test func(t *testing.T, o rigOptions)) {
	pairs := [][2]Lane{{LaneSplice, LaneSplice}}
	if inKernelOnly(t) {
		pairs = append(pairs, [][2]Lane{{LaneKTLS, LaneKTLS}, {LaneKTLS, LaneSplice}, {LaneSplice, LaneKTLS}}...)
	}
	if !emulated {
		pairs = append(pairs, [][2]Lane{{LanePlain, LanePlain}, {LaneRecord, LaneRecord}, {LanePlain, LaneRecord}, {LaneRecord, LanePlain}}...)
	}
	for _, pair := range pairs {
		t.Run(pair[client].String()+" "+pair[backend].String(), func(t *testing.T) { test(t, rigOptions{lanes: pair}) })
	}
}

// overPlain runs a test over the two ways of plain legs.
func overPlain(t *testing.T, test func(t *testing.T, o rigOptions)) {
	for _, lane := range []Lane{LanePlain, LaneSplice} {
		t.Run(lane.String(), func(t *testing.T) { test(t, rigOptions{lanes: [2]Lane{lane, lane}}) })
	}
}

// overSealed runs a test over the two ways of legs in TLS.
func overSealed(t *testing.T, test func(t *testing.T, r *rig)) {
	if !emulated {
		t.Run("record", func(t *testing.T) { test(t, newRig(t, rigOptions{lanes: [2]Lane{LaneRecord, LaneRecord}})) })
	}
	if inKernelOnly(t) {
		t.Run("ktls", func(t *testing.T) { test(t, newRig(t, rigOptions{lanes: [2]Lane{LaneKTLS, LaneKTLS}})) })
	}
}

// overPlainKinds is overPlain times the kinds of sockets.
func overPlainKinds(t *testing.T, test func(t *testing.T, r *rig, leg func() *peer)) {
	overPlain(t, func(t *testing.T, o rigOptions) {
		for kind, leg := range map[string]func(*rig) *peer{"tcp": (*rig).tcp, "unix": (*rig).unix} {
			t.Run(kind, func(t *testing.T) {
				r := newRig(t, o)
				test(t, r, func() *peer { return leg(r) })
			})
		}
	})
}

// newRig checks at the test's end that every descriptor and every byte of stash was given back.
func newRig(t testing.TB, o rigOptions) *rig {
	t.Helper()
	warmPoller(t)
	before := openFDs(t)
	r := &rig{t: t, stash: NewBudget(max(o.stashBytes, 1)), o: o, ended: make(chan ending, 20000), pipes: NewPipes(o.pipes)}
	if o.pipes == 0 {
		r.pipes = NewPipes(MaxPipes)
	}
	if o.stashBytes == 0 {
		r.stash = NewBudget(256 << 20)
	}
	if o.idle == 0 {
		o.idle = time.Hour
	}
	if o.halfClosed == 0 {
		o.halfClosed = time.Hour
	}
	e, err := engine.New(engine.Options{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	r.engine = e
	for _, l := range e.Loops() {
		b := New(l, Options{Idle: o.idle, HalfClosed: o.halfClosed, Stash: r.stash, Pipes: r.pipes, Moved: r.moved, Kernel: r.kernel(),
			Ended: func(tag uint64, rep Report) { r.ended <- ending{tag, rep} }})
		switch {
		case o.wary:
		case o.splice():
			b.spliceAfter, b.kernelAfter = 0, 0
		default:
			b.spliceAfter = math.MaxInt8
		}
		r.bridges = append(r.bridges, b)
	}
	e.Start()
	t.Cleanup(func() { r.finish(before) })
	return r
}

// kernel is what sessions may have of it.
func (r *rig) kernel() *ktls.Support {
	if r.o.has(LaneKTLS) {
		return kernel()
	}
	return nil
}

// moved counts the sessions that reached a lane.
func (r *rig) moved(_ uint64, to Lane) { r.reached[to].Add(1) }

func (r *rig) finish(before int) {
	r.engine.Stop()
	var spliced uint64
	for _, b := range r.bridges {
		spliced += b.pipes.spliced
	}
	if (spliced > 0) != r.o.splice() && !r.o.wary {
		r.t.Errorf("spliced %d bytes in lanes %v", spliced, r.o.lanes)
	}
	for _, b := range r.bridges {
		if err := b.Close(); err != nil {
			r.t.Error(err)
		}
	}
	if r.o.has(LaneKTLS) {
		kernelSessions.Add(r.reached[LaneKTLS].Load())
		pipedBytes.Add(int64(spliced))
	}
	if got := r.reached[LaneKTLS].Load(); (got > 0) != r.o.has(LaneKTLS) {
		r.t.Errorf("sessions that reached lane ktls: got %d, in lanes %v", got, r.o.lanes)
	}
	if got := r.stash.InUse(); got != 0 {
		r.t.Errorf("stash in use at the end: got %d bytes, want 0", got)
	}
	if got := r.pipes.Open() + r.engine.PipeFDs(); got != 0 {
		r.t.Errorf("pipes at the end: got %d and %d descriptors, want none", r.pipes.Open(), r.engine.PipeFDs())
	}
	if got := openFDs(r.t); got != before {
		r.t.Errorf("open descriptors at the end: got %d, want %d", got, before)
	}
}

// warmPoller has Go's own poller make its descriptors before they are counted.
var warmPoller = func() func(testing.TB) {
	var once sync.Once
	return func(t testing.TB) {
		once.Do(func() {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			ln.Close()
		})
	}
}()

func openFDs(t testing.TB) int {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// on runs f on a loop and waits for it.
func (r *rig) on(loop int, f func(b *Bridge)) {
	done := make(chan struct{})
	r.engine.Loops()[loop].Do(func() { defer close(done); f(r.bridges[loop]) })
	<-done
}

// waitEnd waits for the end of one session and checks its reason.
func (r *rig) waitEnd(tag uint64, want Reason) Report {
	r.t.Helper()
	select {
	case e := <-r.ended:
		if e.tag != tag || e.Reason != want {
			r.t.Fatalf("ended: got session %d, %v; want %d, %v", e.tag, e.Reason, tag, want)
		}
		return e.Report
	case <-time.After(patience):
		r.t.Fatalf("session %d did not end; want %v", tag, want)
	}
	return Report{}
}

// eventually waits for a condition.
func (r *rig) eventually(what string, cond func() bool) {
	r.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !cond(); <-tick.C {
		if time.Now().After(end) {
			r.t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// peers is a session with the far ends of its legs in the test's hands.
type peers struct {
	r               *rig
	client, backend *peer
	id              ID
	loop            int
	tag             uint64
}

// peer is a far end, and the near descriptor that the bridge gets.
type peer struct {
	net.Conn          // a *tls.Conn for LaneRecord
	below    net.Conn // its transport
	near     int
	tls      *record.Leg // of the near end
}

func (p *peer) leg() Leg {
	if p.tls != nil {
		return Leg{FD: p.near, Lane: LaneRecord, TLS: p.tls}
	}
	return Leg{FD: p.near}
}

// closeWrite ends the far end's output, in TLS by close_notify and FIN.
func (p *peer) closeWrite() error {
	if t, ok := p.Conn.(*tls.Conn); ok {
		if err := t.CloseWrite(); err != nil {
			return err
		}
	}
	return p.cut()
}

// cut is closeWrite without a word of TLS.
func (p *peer) cut() error { return p.below.(interface{ CloseWrite() error }).CloseWrite() }

// reset has the far end send RST.
func (p *peer) reset() {
	p.below.(*net.TCPConn).SetLinger(0)
	p.below.Close()
}

// secure makes TLS of a new connection: the near end plays the server on a client's leg, and the client on a backend's.
func (p *peer) secure(t testing.TB, near net.Conn, leg int, s tlstest.Suite) {
	t.Helper()
	if s.ID == 0 {
		s = tlstest.Suites[3] // TLS_AES_128_GCM_SHA256
	}
	p.tls, p.Conn = s.Pair(t, near, p.below, ourRoles[leg])
}

// ourRoles are the parts that near ends play in TLS.
var ourRoles = [2]record.Role{client: record.AsServer, backend: record.AsClient}

// tcp is a plain connection over loopback.
func (r *rig) tcp() *peer { return r.dial(LanePlain, client) }

// dial is a connection over loopback, in the lane.
func (r *rig) dial(lane Lane, leg int) *peer {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	defer ln.Close()
	far, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := ln.Accept()
	if err != nil {
		r.t.Fatal(err)
	}
	p := &peer{Conn: far, below: far}
	if lane == LaneRecord || lane == LaneKTLS {
		p.secure(r.t, c, leg, r.o.suite)
	}
	p.near = steal(r.t, c.(*net.TCPConn))
	return p
}

// steal duplicates a connection's descriptor out of Go's poller.
func steal(t testing.TB, c *net.TCPConn) (fd int) {
	defer c.Close()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var dupErr error
	if err := raw.Control(func(s uintptr) { fd, dupErr = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		t.Fatal(err)
	}
	if dupErr != nil {
		t.Fatal(dupErr)
	}
	engine.TuneSocket(fd)
	return fd
}

// unix is a socket pair, whose shutdown is seen at once whatever is queued.
func (r *rig) unix() *peer {
	r.t.Helper()
	p := socketpair(r.t)
	f := os.NewFile(uintptr(p[0]), "far")
	defer f.Close()
	far, err := net.FileConn(f)
	if err != nil {
		r.t.Fatal(err)
	}
	return &peer{Conn: far, below: far, near: p[1]}
}

func socketpair(t testing.TB) [2]int {
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// clog fills the socket towards the far end, which is told to hold little and never more, and returns how many bytes
// that took. TCP may take more for a moment after it first refused.
func (p *peer) clog(t testing.TB) (total int) {
	if p.tls != nil {
		t.Fatal("bug in the test: zeros are no records")
	}
	if far, ok := p.Conn.(*net.TCPConn); ok {
		far.SetReadBuffer(8 << 10)
		unix.SetsockoptInt(p.near, unix.SOL_SOCKET, unix.SO_SNDBUF, 32<<10)
	}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for refused := 0; refused < 10; <-tick.C {
		n := p.fill(t)
		total += n
		refused++
		if n > 0 {
			refused = 0
		}
	}
	return total
}

// fill writes until the socket takes not even one byte more.
func (p *peer) fill(t testing.TB) (total int) {
	chunk := make([]byte, 4096)
	for {
		n, err := unix.Write(p.near, chunk)
		switch {
		case err == unix.EAGAIN && len(chunk) > 1:
			chunk = chunk[:1]
		case err == unix.EAGAIN:
			return total
		case err != nil:
			t.Error(err)
			return total
		}
		total += max(n, 0)
	}
}

// join makes a session of two TCP legs, in the rig's lanes.
func (r *rig) join(loop int) *peers {
	return r.joinLegs(loop, r.dial(r.o.lanes[client], client), r.dial(r.o.lanes[backend], backend), Join{})
}

// joinLegs makes a session of the legs, with the tails of j.
func (r *rig) joinLegs(loop int, client, backend *peer, j Join) *peers {
	r.t.Helper()
	return r.joinAs(loop, client, backend, client.leg(), backend.leg(), j)
}

// joinAs is joinLegs with legs that say more than their peers know.
func (r *rig) joinAs(loop int, client, backend *peer, cl, bl Leg, j Join) *peers {
	r.t.Helper()
	s := &peers{r: r, client: client, backend: backend, loop: loop, tag: r.lastTag.Add(1)}
	j.Client, j.Backend, j.Tag = cl, bl, s.tag
	var err error
	r.on(loop, func(b *Bridge) {
		watchAll(b.loop, client.near)
		if s.id, err = b.Join(j); err == nil {
			r.checkLanes(b, s)
		}
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.far = append(r.far, client, backend)
	r.t.Cleanup(s.close)
	return s
}

// checkLanes wants a session in the lanes that its peers ask for.
func (r *rig) checkLanes(b *Bridge, s *peers) {
	x, _ := b.find(s.id)
	for i, p := range []*peer{s.client, s.backend} {
		if l := &x.legs[i]; (p.tls != nil) != (l.lane == LaneRecord || l.lane == LaneKTLS) || (p.tls != nil) != (b.tlsOf(l) != nil) {
			r.t.Errorf("leg of the %s: got lane %v", legNames[i], l.lane)
		}
	}
}

// watchAll does what the owner of the legs did before the join: kind 0 is harmless.
func watchAll(l *engine.Loop, fds ...int) {
	for _, fd := range fds {
		if err := l.Watch(fd, engine.MakeToken(0, 0, 0)); err != nil {
			panic(err)
		}
	}
}

// close ends the far sides and waits until the bridge and the retirer have let go of theirs. Cleanups run last in, first
// out, so this comes before rig.finish.
func (s *peers) close() {
	for _, c := range s.r.far {
		c.Close()
	}
	s.r.eventually("descriptors closed", func() bool {
		busy := 0
		for i := range s.r.bridges {
			s.r.on(i, func(b *Bridge) {
				busy += b.loop.Retired()
				if _, ok := b.Count(s.id); ok && i == s.loop {
					busy++
				}
			})
		}
		return busy == 0
	})
}

func (s *peers) count() (c Counters, ok bool) {
	s.r.on(s.loop, func(b *Bridge) { c, ok = b.Count(s.id) })
	return c, ok
}

// exchange sends text from one far end and wants it at the other.
func exchange(t testing.TB, from, to net.Conn, text string) {
	t.Helper()
	if _, err := io.WriteString(from, text); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(text))
	to.SetReadDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(to, got); err != nil || string(got) != text {
		t.Fatalf("got %q, %v; want %q", got, err, text)
	}
	to.SetReadDeadline(time.Time{})
}

// wantRest reads to the end and wants exactly text and a clean end.
func wantRest(t testing.TB, c net.Conn, text string) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(patience))
	got, err := io.ReadAll(c)
	if err != nil || string(got) != text {
		t.Fatalf("got %s, %v; want %s", brief(got), err, brief([]byte(text)))
	}
}

func brief(p []byte) string {
	if len(p) > 40 {
		return fmt.Sprintf("%d bytes ending in %q", len(p), p[len(p)-20:])
	}
	return fmt.Sprintf("%q", p)
}

// randomText is n bytes that are not all alike.
func randomText(n int) string {
	rng := mrand.New(mrand.NewPCG(uint64(n), 1))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return string(p)
}
