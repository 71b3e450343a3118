package ktls

import (
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailsplice/tlsx/record"
	"mailsplice/tlsx/tlstest"
)

// support is what the kernel that the tests run on can do.
var support = sync.OnceValue(Probe)

// inVM says that make test-ktls runs the tests in a kernel that can everything.
var inVM = os.Getenv("MAILSPLICE_KTLS") == "1"

// able tells whether a test of the kernel can run. In a virtual machine it must.
func able(t *testing.T) bool {
	t.Helper()
	missing := support().Missing()
	if len(missing) == 0 {
		return true
	}
	if inVM {
		t.Fatalf("this kernel cannot: %v", missing)
	}
	t.Log("NOT RUN HERE: this kernel has no TLS (or not all of it); make test-ktls runs it in kernels that have")
	return false
}

// rig is a connection with crypto/tls at the far end and a taken-over socket, in blocking mode, at the near one.
type rig struct {
	t   *testing.T
	fd  int
	leg *record.Leg
	far net.Conn
	raw net.Conn // what far talks over
}

func newRig(t *testing.T, s tlstest.Suite, role record.Role) *rig {
	t.Helper()
	r := &rig{t: t}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if r.raw, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	near, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	r.leg, r.far = s.Pair(t, near, r.raw, role)
	f, err := near.(*net.TCPConn).File() // blocking
	if err != nil {
		t.Fatal(err)
	}
	near.Close()
	r.fd = int(f.Fd())
	wait := unix.Timeval{Sec: 20}
	unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait)
	r.raw.SetDeadline(time.Now().Add(time.Minute))
	t.Cleanup(func() { f.Close(); r.raw.Close() })
	return r
}

// install puts the key of one direction, or of both, into the kernel.
func (r *rig) install(ways ...Direction) {
	r.t.Helper()
	if err := Attach(r.fd); err != nil {
		r.t.Fatal(err)
	}
	for _, d := range ways {
		h := r.leg.Out()
		if d == RX {
			h = r.leg.In()
		}
		if err := Install(r.fd, d, &h); err != nil {
			r.t.Fatal(err)
		}
	}
}

// hear wants text at the far end.
func (r *rig) hear(text string) {
	r.t.Helper()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(r.far, got); err != nil || string(got) != text {
		r.t.Fatalf("at the far end: got %d bytes ending in %q, %v; want %d", len(got), got[max(0, len(got)-20):], err, len(text))
	}
}

// receive reads one record or part of one from the kernel.
func (r *rig) receive() (typ byte, text string, err error) {
	buf := make([]byte, 64<<10)
	n, typ, err := Receive(r.fd, buf)
	return typ, string(buf[:n]), err
}

// get wants text from the kernel.
func (r *rig) get(text string) {
	r.t.Helper()
	var all string
	for len(all) < len(text) {
		typ, part, err := r.receive()
		if err != nil || typ != record.TypeData || part == "" {
			r.t.Fatalf("behind %d bytes: got a record of type %d with %d bytes, %v", len(all), typ, len(part), err)
		}
		all += part
	}
	if all != text {
		r.t.Fatalf("got %d bytes, want %d others", len(all), len(text))
	}
}

func (r *rig) send(text string) {
	r.t.Helper()
	if _, err := unix.Write(r.fd, []byte(text)); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) say(text string) {
	r.t.Helper()
	if _, err := io.WriteString(r.far, text); err != nil {
		r.t.Fatal(err)
	}
}

func randomText(n int) string {
	rng := rand.New(rand.NewPCG(uint64(n), 1))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return string(p)
}
