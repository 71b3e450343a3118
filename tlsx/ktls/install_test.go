package ktls

import (
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"mailsplice/tlsx/record"
	"mailsplice/tlsx/tlstest"
)

var roles = map[string]record.Role{"as server": record.AsServer, "as client": record.AsClient}

// overSuites runs a test for each version, cipher and role.
func overSuites(t *testing.T, test func(t *testing.T, s tlstest.Suite, role record.Role)) {
	if !able(t) {
		return
	}
	for _, s := range tlstest.Suites {
		for name, role := range roles {
			t.Run(fmt.Sprint(s, " ", name), func(t *testing.T) { test(t, s, role) })
		}
	}
}

// The kernel goes on where the handshake ended, in one direction or both, while user space goes on in the other; and tells
// at which record it is.
func TestInstall(t *testing.T) {
	long := randomText(40000)
	overSuites(t, func(t *testing.T, s tlstest.Suite, role record.Role) {
		for name, ways := range map[string][]Direction{"TX": {TX}, "RX": {RX}, "both": {TX, RX}} {
			r := newRig(t, s, role)
			r.install(ways...)
			for _, d := range ways {
				if d == TX {
					r.send("hello")
					r.send(long)
					r.hear("hello" + long)
					r.wantSeq(name, TX, r.leg.Out(), 1+3)
					continue
				}
				r.say("and back")
				r.get("and back")
				r.say(long)
				r.get(long)
				r.wantSeq(name, RX, r.leg.In(), 1)
			}
		}
	})
}

// wantSeq wants the kernel to be at least so many records further than it was told.
func (r *rig) wantSeq(name string, d Direction, h record.Half, records uint64) {
	r.t.Helper()
	got, err := Seq(r.fd, d, h.Cipher())
	if err != nil || got < h.Seq()+records || got > h.Seq()+records+40 {
		r.t.Errorf("%s: number of %v: got %d, %v; was %d, and %d records or a few more have passed", name, d, got, err, h.Seq(), records)
	}
}

// What the kernel has done user space can take over again: its number says all.
func TestSeqIsEnough(t *testing.T) {
	overSuites(t, func(t *testing.T, s tlstest.Suite, role record.Role) {
		r := newRig(t, s, role)
		h := r.leg.In()
		var keys record.Keys
		rec := make([]byte, record.MaxRecord)
		r.say("first, for user space")
		n, err := unix.Read(r.fd, rec)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.leg.Open(&keys, rec[:n]); err != nil || string(got.Plain) != "first, for user space" {
			t.Fatalf("got %q, %v", got.Plain, err)
		}
		r.install(RX)
		r.say("second, for the kernel")
		r.get("second, for the kernel")
		if got, err := Seq(r.fd, RX, h.Cipher()); err != nil || got != h.Seq()+2 {
			t.Errorf("number: got %d, %v; want %d", got, err, h.Seq()+2)
		}
	})
}

// An alert goes out and comes in as a record of its own; FIN is the end of input whatever came before.
func TestControlRecords(t *testing.T) {
	overSuites(t, func(t *testing.T, s tlstest.Suite, role record.Role) {
		r := newRig(t, s, role)
		r.install(TX, RX)
		r.say("data")
		r.far.(interface{ CloseWrite() error }).CloseWrite() // close_notify, without FIN
		r.get("data")
		if n, err := unix.Read(r.fd, make([]byte, 100)); err != unix.EIO {
			t.Errorf("read(2) of a control record: got %d bytes, %v; want EIO", n, err)
		}
		typ, text, err := r.receive()
		if err != nil || typ != record.TypeAlert || text != "\x01\x00" {
			t.Fatalf("got type %d, %q, %v; want close_notify", typ, text, err)
		}
		r.send("still heard")
		r.hear("still heard")
		if sent, err := Send(r.fd, record.TypeAlert, []byte{1, 0}); err != nil || !sent {
			t.Fatalf("sending close_notify: got %v, %v", sent, err)
		}
		if n, err := r.far.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("at the far end: got %d bytes, %v; want close_notify, which is an end", n, err)
		}
		r.raw.Close()
		if typ, text, err := r.receive(); err != nil || text != "" {
			t.Errorf("FIN: got type %d, %q, %v; want the end of input", typ, text, err)
		}
	})
}

// A broken record is told apart by its error, and nothing of it or behind it is given out.
func TestBrokenRecords(t *testing.T) {
	overSuites(t, func(t *testing.T, s tlstest.Suite, role record.Role) {
		for name, c := range map[string]struct {
			spoil func(rec []byte)
			want  error
		}{
			"forged":        {func(p []byte) { p[len(p)-1]++ }, unix.EBADMSG},
			"too long":      {func(p []byte) { p[3], p[4] = 0xff, 0xff }, unix.EMSGSIZE},
			"wrong version": {func(p []byte) { p[1]++ }, unix.EINVAL},
		} {
			r := newRig(t, s, role)
			peer := r.twin(role)
			r.install(RX)
			var keys record.Keys
			good, err := peer.Seal(&keys, nil, []byte("good"))
			if err != nil {
				t.Fatal(err)
			}
			bad, err := peer.Seal(&keys, nil, []byte("never seen"))
			if err != nil {
				t.Fatal(err)
			}
			c.spoil(bad)
			if _, err := r.raw.Write(append(good, bad...)); err != nil {
				t.Fatal(err)
			}
			r.get("good")
			if typ, text, err := r.receive(); err != c.want || text != "" {
				t.Errorf("%s: got type %d, %q, %v; want %v", name, typ, text, err, c.want)
			}
		}
	})
}

// twin seals what the far end would: it has the same keys.
func (r *rig) twin(role record.Role) record.Leg {
	r.t.Helper()
	other := record.AsClient
	if role == record.AsClient {
		other = record.AsServer
	}
	peer, err := record.NewLeg(other, r.leg.Out(), r.leg.In())
	if err != nil {
		r.t.Fatal(err)
	}
	return peer
}

// splice(2) moves one record at a time, refuses a control record with EINVAL and takes an empty one for the end.
func TestSpliceOutOfTheKernel(t *testing.T) {
	overSuites(t, func(t *testing.T, s tlstest.Suite, role record.Role) {
		r := newRig(t, s, role)
		peer := r.twin(role)
		var keys record.Keys
		var raw []byte
		for _, text := range []string{"first", "second"} {
			var err error
			if raw, err = peer.Seal(&keys, raw, []byte(text)); err != nil {
				t.Fatal(err)
			}
		}
		raw, err := peer.AppendClose(&keys, raw, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.install(RX)
		if _, err := r.raw.Write(raw); err != nil {
			t.Fatal(err)
		}
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(pipe[0])
		defer unix.Close(pipe[1])
		for _, want := range []string{"first", "second"} {
			n, err := unix.Splice(r.fd, nil, pipe[1], nil, 1<<16, 0)
			got := make([]byte, 100)
			m, _ := unix.Read(pipe[0], got)
			if err != nil || string(got[:m]) != want {
				t.Fatalf("got %d bytes, %v, %q; want %q", n, err, got[:m], want)
			}
		}
		if n, err := unix.Splice(r.fd, nil, pipe[1], nil, 1<<16, 0); err != unix.EINVAL {
			t.Errorf("splicing close_notify: got %d, %v; want EINVAL", n, err)
		}
		if typ, text, err := r.receive(); err != nil || typ != record.TypeAlert || text != "\x01\x00" {
			t.Errorf("got type %d, %q, %v; want close_notify, still there", typ, text, err)
		}
	})
}

// With a new key after each KeyUpdate the kernel goes on; one that cannot says so.
func TestRekey(t *testing.T) {
	overSuites(t, func(t *testing.T, s tlstest.Suite, role record.Role) {
		if s.Version != versions[1] {
			return
		}
		r := newRig(t, s, role)
		r.install(TX)
		for i := range 3 {
			text := fmt.Sprint("under key ", i)
			r.send(text)
			r.hear(text)
			message := record.UpdateMessage()
			if sent, err := Send(r.fd, record.TypeHandshake, message[:]); err != nil || !sent {
				t.Fatalf("sending a KeyUpdate: got %v, %v", sent, err)
			}
			r.leg.NextOut()
			h := r.leg.Out()
			err := Install(r.fd, TX, &h)
			if !support().Rekeys(TX) {
				if err == nil {
					t.Error("a second key was taken, which Probe says cannot be")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	})
}

// Written counts what TCP was given, with what a record costs.
func TestWritten(t *testing.T) {
	overSuites(t, func(t *testing.T, s tlstest.Suite, role record.Role) {
		r := newRig(t, s, role)
		before, _, err := Written(r.fd)
		if err != nil {
			t.Fatal(err)
		}
		r.install(TX)
		text := strings.Repeat("x", 1000)
		for range 3 {
			r.send(text)
		}
		r.hear(strings.Repeat(text, 3))
		after, exact, err := Written(r.fd)
		if want := before + 3*uint64(len(text)+r.leg.Overhead()); err != nil || after != want || !exact {
			t.Errorf("got %d, %v, %v; want %d", after, exact, err, want)
		}
	})
}

// Where it is no connection, or there is no key, nothing is installed.
func TestInstallErrors(t *testing.T) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := Attach(fd); err == nil {
		t.Error("attached to a socket that is not connected")
	}
	if err := Install(fd, TX, new(record.Half)); err == nil {
		t.Error("installed no key")
	}
	if _, err := Seq(fd, TX, record.AES128GCM); err == nil {
		t.Error("a number of a socket without keys")
	}
	if _, _, err := Written(-1); err == nil {
		t.Error("an account of no socket")
	}
}
