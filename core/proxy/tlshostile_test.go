package proxy

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

// forger is a client that words its records itself, by the letter of RFC 8446 5.2 and 7.3, apart from our record layer. What
// comes is read by crypto/tls.
type forger struct {
	*tls.Conn
	raw    net.Conn
	secret []byte
	seq    uint64
}

// forge shakes hands with crypto/tls and goes on by itself, under TLS_AES_128_GCM_SHA256.
func (r *rig) forge() *forger {
	r.t.Helper()
	raw, err := net.Dial("tcp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { raw.Close() })
	raw.SetDeadline(time.Now().Add(patience))
	var log bytes.Buffer
	f := &forger{raw: raw, Conn: tls.Client(raw, anybody(func(c *tls.Config) { c.KeyLogWriter = &log }))}
	if err := f.Handshake(); err != nil {
		r.t.Fatal(err)
	}
	if got := f.ConnectionState().CipherSuite; got != tls.TLS_AES_128_GCM_SHA256 {
		r.t.Fatalf("got suite %04x, which is not the forger's", got)
	}
	_, rest, _ := strings.Cut(log.String(), "CLIENT_TRAFFIC_SECRET_0 ")
	if f.secret, err = hex.DecodeString(strings.Fields(rest)[1]); err != nil {
		r.t.Fatal(err)
	}
	wantLine(r.t, f, "* OK")
	return f
}

// expand is HKDF-Expand-Label with an empty context (RFC 8446 7.1).
func (f *forger) expand(label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(n), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, f.secret, string(append(info, 0)), n)
	if err != nil {
		panic(err)
	}
	return out
}

// record seals one record of a type.
func (f *forger) record(kind byte, plain ...byte) []byte {
	block, _ := aes.NewCipher(f.expand("key", 16)) // the key has its length
	gcm, _ := cipher.NewGCM(block)
	nonce := f.expand("iv", 12)
	var seq [12]byte
	binary.BigEndian.PutUint64(seq[4:], f.seq)
	subtle.XORBytes(nonce, nonce, seq[:])
	f.seq++
	header := []byte{data, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(plain)+17))
	return gcm.Seal(header, nonce, append(bytes.Clone(plain), kind), bytes.Clone(header))
}

// Record types.
const (
	alert     = 21
	handshake = 22
	data      = 23
)

// update is a KeyUpdate, which asks for one back or not.
func (f *forger) update(ask byte) []byte {
	rec := f.record(handshake, 24, 0, 0, 1, ask)
	f.secret, f.seq = f.expand("traffic upd", 32), 0
	return rec
}

func times(n int, f func() []byte) (all []byte) {
	for range n {
		all = append(all, f()...)
	}
	return all
}

// SECURITY 22 and 26: what ends a session before the login and behind it, with which alert; nothing of it reaches the
// backend, and the others go on.
func TestForgedRecords(t *testing.T) {
	noop := func(f *forger) []byte { return f.record(data, []byte("x NOOP\r\n")...) }
	flipped := func(rec []byte) []byte { rec[len(rec)-1] ^= 1; return rec }
	r := newRig(t, stage{listenerTLS: "implicit", legacyTLS: crossed().legacy})
	bystander := r.loginBy(anybody())
	for _, c := range []struct {
		name string
		send func(f *forger) []byte
		want string // the alert, as crypto/tls words it; empty: the session goes on
	}{
		{"SECURITY 22: KeyUpdate", func(f *forger) []byte { return f.update(0) }, ""},
		{"SECURITY 22: KeyUpdates, asked back", func(f *forger) []byte { return times(9, func() []byte { return f.update(1) }) }, ""},
		{"SECURITY 22: 33 KeyUpdates", func(f *forger) []byte { return times(33, func() []byte { return f.update(0) }) }, "unexpected message"},
		{"SECURITY 22: 33 KeyUpdates, asked back", func(f *forger) []byte { return times(33, func() []byte { return f.update(1) }) }, "unexpected message"},
		{"SECURITY 26: 16 empty records", func(f *forger) []byte { return times(16, func() []byte { return f.record(data) }) }, ""},
		{"SECURITY 26: 17 empty records", func(f *forger) []byte { return times(17, func() []byte { return f.record(data) }) }, "unexpected message"},
		{"SECURITY 26: 17 warnings", func(f *forger) []byte { return times(17, func() []byte { return f.record(alert, 1, 90) }) }, "unexpected message"},
		{"SECURITY 26: ChangeCipherSpec", func(*forger) []byte { return []byte{20, 3, 3, 0, 1, 1} }, "unexpected message"},
		{"SECURITY 26: tag", func(f *forger) []byte { return flipped(noop(f)) }, "bad record MAC"},
		{"SECURITY 26: sequence", func(f *forger) []byte { noop(f); return noop(f) }, "bad record MAC"},
		{"SECURITY 26: over-long", func(*forger) []byte { return []byte{data, 3, 3, 0x41, 1} }, "record overflow"},
		{"SECURITY 26: in the clear", func(*forger) []byte { return []byte{alert, 3, 3, 0, 2, 1, 0} }, "unexpected message"},
		{"SECURITY 26: type", func(f *forger) []byte { return f.record(24, 1) }, "unexpected message"},
		{"SECURITY 26: half a message, then data", func(f *forger) []byte { return append(f.record(handshake, 24, 0), noop(f)...) }, "unexpected message"},
		{"SECURITY 23: ClientHello", func(f *forger) []byte { return f.record(handshake, 1, 0, 0, 41) }, "unexpected message"},
	} {
		for _, joined := range []bool{false, true} {
			f := r.forge()
			if joined {
				f.raw.Write(f.record(data, []byte("a LOGIN forger "+password+"\r\n")...))
				wantLine(t, f, "a OK")
			}
			before := r.legacy.Counts()
			f.raw.Write(append(c.send(f), noop(f)...))
			if c.want == "" {
				wantLine(t, f, "x OK")
				f.raw.Close()
			} else {
				text, err := io.ReadAll(f)
				if err == nil || !strings.Contains(err.Error(), "remote error: tls: "+c.want) || len(text) != 0 {
					t.Errorf("%s, joined %v: got %q, %v, want alert %q alone\n%s", c.name, joined, text, err, c.want, r.log)
				}
				if got := r.legacy.Counts(); got.Commands != before.Commands {
					t.Errorf("%s: the backend was given a command", c.name)
				}
			}
			r.await("the backend to be left", func() bool { return r.legacy.Counts().LoggedIn == 1 })
			r.command(bystander, "NOOP", "OK")
		}
	}
}

// SECURITY 26: a fatal alert of the peer, known or not, ends the session without a word (RFC 8446 6.2), close_notify with one.
func TestForgedAlerts(t *testing.T) {
	r := newRig(t, stage{listenerTLS: "implicit", legacyTLS: crossed().legacy})
	for _, a := range []struct {
		level, description byte
		answered           bool
	}{{1, 0, true}, {2, 10, false}, {2, 40, false}, {2, 80, false}, {2, 199, false}} {
		for _, joined := range []bool{false, true} {
			f := r.forge()
			if joined {
				f.raw.Write(f.record(data, []byte("a LOGIN forger "+password+"\r\n")...))
				wantLine(t, f, "a OK")
			}
			f.raw.Write(f.record(alert, a.level, a.description))
			rest, err := io.ReadAll(f.raw) // sealed
			if err != nil || (len(rest) > 0) != a.answered {
				t.Fatalf("alert %d, joined %v: got %x, %v, want an answer: %v", a.description, joined, rest, err, a.answered)
			}
			f.raw.Close()
			r.await(fmt.Sprintf("the end after alert %d", a.description), func() bool {
				c := r.proxy.sessions.Counts()
				return c.Joined+c.Preauth == 0 && r.legacy.Counts().LoggedIn == 0
			})
		}
	}
}

// SECURITY 33: handshakes that never go on, begun and not even begun, hold up nobody and end by themselves.
func TestStalledHandshakes(t *testing.T) {
	const many = 100
	other := freePort(t)
	r := newRig(t, stage{listenerTLS: "implicit", legacyTLS: crossed().legacy, listener: `preauth_timeout = "1s"`,
		rest: fmt.Sprintf("[listener.other]\nprotocol = \"imap\"\nbind = [%q]\ntls = \"implicit\"\n", other)})
	hello, before := aHello(t), 0
	for _, say := range []string{hello, hello[:20], ""} { // stops in the middle of the handshake, in the ClientHello, before it
		for range many {
			if err := r.dialPlain().SendRaw(say); err != nil {
				t.Fatal(err)
			}
		}
		c, err := mailfake.DialWith(other, mailfake.ClientOptions{Timeout: patience, TLS: anybody()})
		if err != nil {
			t.Fatal(err)
		}
		r.clients = append(r.clients, c)
		r.command(c, "LOGIN alice "+password, "OK")
		r.landed(c, "legacy")
		before += many
		r.await("all of them to be ended", func() bool { return len(r.log.lines("connection ended before login")) >= before })
	}
	for _, line := range r.log.lines("connection ended before login") {
		if !strings.Contains(line, "reason=timeout") && !strings.Contains(line, `reason="tls timeout"`) && !strings.Contains(line, `reason="tls busy"`) {
			t.Errorf("got %s, want a timeout", line)
		}
	}
	if got := r.proxy.sessions.Counts(); got.Preauth != 0 || got.Joined != 3 {
		t.Errorf("got %+v, want the three alone", got)
	}
}

// SECURITY 33: a backend that accepts connections and never shakes hands holds up its own logins alone, as many as come.
func TestHungBackendHandshakes(t *testing.T) {
	const many = 100
	r := newRig(t, stage{listenerTLS: crossed().listener, legacyTLS: "implicit", mappings: "nina new\n",
		onLegacy: mailfake.Options{Hooks: mailfake.Hooks{mailfake.OnAccept: mailfake.Hang()}}})
	for range many {
		if err := r.secure(anybody()).Send("a LOGIN alice " + password); err != nil {
			t.Fatal(err)
		}
	}
	r.await("all logins to be under way", func() bool { return r.legacy.Counts().Open == many })
	cl := r.secure(anybody())
	r.command(cl, "LOGIN nina "+password, "OK")
	r.landed(cl, "new")
	for _, c := range r.clients { // who leaves frees the destination at once
		c.Close()
	}
	r.await("the destination to be free", func() bool { return r.proxy.sessions.Counts().Logins == 0 && r.proxy.engine.OpenFDs() == 0 })
}

// One answer for several KeyUpdates at once (RFC 8446 4.6.3), and it is given also where a login comes between.
func TestKeyUpdatesAroundALogin(t *testing.T) {
	r := newRig(t, stage{listenerTLS: "implicit", legacyTLS: crossed().legacy})
	f := r.forge()
	sent := times(9, func() []byte { return f.update(1) })
	sent = append(sent, f.record(data, []byte("a LOGIN alice "+password+"\r\n")...)...)
	sent = append(append(sent, f.update(1)...), f.record(data, []byte("x NOOP\r\n")...)...)
	f.raw.Write(sent)
	wantLine(t, f, "a OK")
	wantLine(t, f, "x OK")
	f.raw.Write(append(f.update(1), f.record(data, []byte("y NOOP\r\n")...)...))
	wantLine(t, f, "y OK")
}
