package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"mailsplice/core/config"
	"mailsplice/core/mailfake"
)

func TestDrain(t *testing.T) {
	g := newGate()
	r := newRig(t, stage{server: "backend_timeout = \"60s\"", long: true, mappings: "late new\n", onNew: mailfake.Options{Hooks: g.hooks()}})
	quiet, talking, idle, busy, late := r.dial(), r.dial(), r.login("alice"), r.login("bob"), r.dial()
	talking.SendRaw("a LOGIN {5}\r\n")
	talking.Expect("+ ")
	if _, err := idle.Idle(); err != nil {
		t.Fatal(err)
	}
	late.Send("a LOGIN late " + password)
	r.awaitClosed("the login in progress", g.reached)
	if status, _ := r.call("GET", "/healthz"); status != http.StatusOK {
		t.Errorf("healthz before: got %d", status)
	}
	down := make(chan struct{})
	r.stopped = true
	go shutdown(r.proxy, context.Background(), down) // ends with the drain
	for name, c := range map[string]*mailfake.Client{"quiet": quiet, "in a command": talking} {
		if end := r.ended(c); len(end.Lines) != 1 || end.Bye() == "" {
			t.Errorf("%s: got %q, want BYE", name, end.Lines)
		}
		c.Close()
	}
	if end := r.ended(late); len(end.Lines) != 2 || !strings.HasPrefix(end.Lines[0], "a NO [UNAVAILABLE]") || end.Bye() == "" {
		t.Errorf("login in progress: got %q, want NO and BYE", end.Lines)
	}
	late.Close()
	if status, _ := r.call("GET", "/healthz"); status != http.StatusServiceUnavailable {
		t.Errorf("healthz while draining: got %d", status)
	}
	r.await("the listener to be closed", func() bool {
		c, err := net.Dial("tcp", r.addr())
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	r.command(busy, "NOOP", "OK") // joined sessions go on
	r.landed(busy, "legacy")
	if !alive(r, idle, "alice") {
		t.Error("an idling session does not go on")
	}
	select {
	case <-down:
		t.Fatal("the proxy is down while sessions live")
	default:
	}
	idle.Close()
	r.command(busy, "LOGOUT", "OK")
	busy.Close()
	r.awaitClosed("the end of the drain", down) // long before the grace is over
}

func shutdown(p *Proxy, ctx context.Context, done chan<- struct{}) {
	defer close(done)
	p.Shutdown(ctx)
}

// slowHands is a connection whose second write, the client's last word of a handshake, waits.
type slowHands struct {
	net.Conn
	writes        int
	reached, goOn chan struct{}
}

func (c *slowHands) Write(p []byte) (int, error) {
	if c.writes++; c.writes == 2 {
		close(c.reached)
		<-c.goOn
	}
	return c.Conn.Write(p)
}

// A client that is shaking hands when the drain begins gets its farewell after the handshake, as its end of that may be
// done already.
func TestDrainInHandshake(t *testing.T) {
	r := newRig(t, stage{listenerTLS: "implicit", legacyTLS: crossed().legacy, long: true})
	quiet := r.dial()
	r.command(quiet, "NOOP", "OK")
	raw, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	raw.SetDeadline(time.Now().Add(patience))
	hands := &slowHands{Conn: raw, reached: make(chan struct{}), goOn: make(chan struct{})}
	c := tls.Client(hands, mode.suites(anybody()))
	said := make(chan string, 1)
	go func() { // ends with raw
		text, err := io.ReadAll(c)
		said <- fmt.Sprintf("%s %v", text, err)
	}()
	r.awaitClosed("the client's second flight", hands.reached)
	r.stopped = true
	down := make(chan struct{})
	go shutdown(r.proxy, context.Background(), down) // ends with the drain
	r.ended(quiet)
	quiet.Close()
	close(hands.goOn)
	if got := <-said; !strings.HasPrefix(got, "* OK ") || !strings.Contains(got, "\r\n* BYE ") || !strings.HasSuffix(got, "\r\n <nil>") {
		t.Errorf("got %q, want greeting, BYE and a clean end", got)
	}
	raw.Close()
	r.awaitClosed("the end of the drain", down)
}

// One that never ends is not waited for beyond the grace.
func TestGraceEndsHandshakes(t *testing.T) {
	r := newRig(t, stage{listenerTLS: "implicit", legacyTLS: crossed().legacy})
	stalled, err := net.Dial("tcp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer stalled.Close()
	stalled.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(stalled, aHello(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(stalled, make([]byte, 1)); err != nil { // it is under way
		t.Fatal(err)
	}
	r.stopped = true
	down := make(chan struct{})
	go shutdown(r.proxy, context.Background(), down) // ends with the drain
	r.awaitClosed("the end of the drain", down)
	if line := r.logged("connection ended before login", 1); !strings.Contains(line[0], "reason=drain") {
		t.Errorf("log: got %q", line)
	}
}

// What is left when the grace is over ends by FIN.
func TestGraceIsOver(t *testing.T) {
	r := newRig(t, stage{})
	idle := r.login("alice")
	if _, err := idle.Idle(); err != nil {
		t.Fatal(err)
	}
	r.stopped = true
	down := make(chan struct{})
	go shutdown(r.proxy, context.Background(), down) // ends with the drain
	r.ended(idle)
	idle.Close()
	r.awaitClosed("the end of the drain", down)
	if line := r.logged("session ended", 1); !strings.Contains(line[0], "reason=kick") {
		t.Errorf("log: got %q", line)
	}
}

// When the context ends, so does Shutdown, whoever is still there.
func TestHurry(t *testing.T) {
	reached := make(chan struct{}, 1)
	r := newRig(t, stage{long: true, onLegacy: mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnCredentials: mailfake.Times(1, mailfake.Chain(mailfake.Signal(reached), mailfake.Hang()))}}})
	hung, idle := r.dial(), r.dial()
	hung.Send("a LOGIN alice " + password)
	<-reached
	if err := idle.Login("bob", password); err != nil {
		t.Fatal(err)
	}
	r.stopped = true
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	down := make(chan struct{})
	go shutdown(r.proxy, ctx, down)
	r.awaitClosed("the end of the drain", down)
	r.hurried = true
}

// A start that fails leaves nothing behind and names what cannot bind.
func TestStartFails(t *testing.T) {
	r := newRig(t, stage{})
	cfg, _, err := config.Load(r.path("conf"), LoadOptions())
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(cfg, Options{LogWriter: r.log})
	var bind *BindError
	if p != nil || !errors.As(err, &bind) || bind.Name != "imap" {
		t.Errorf("second instance: got %v, want a BindError of imap", err)
	}
	cfg.Listeners[0].Bind[0] = mustPort(t)
	p, err = Start(cfg, Options{LogWriter: r.log})
	if p != nil || !errors.As(err, &bind) || bind.Name != "admin" {
		t.Errorf("second admin API: got %v, want a BindError of admin", err)
	}
}
