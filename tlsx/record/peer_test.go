package record

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/iotest"
)

func TestDataBothWays(t *testing.T) {
	for _, c := range allCases() {
		t.Run(c.String(), func(t *testing.T) {
			r := newRig(t, c)
			random := rand.New(rand.NewPCG(1, uint64(c.suite)))
			for range 20 {
				r.checkReceive(t, random)
				r.checkSend(t, random)
			}
		})
	}
}

// checkReceive lets crypto/tls write a random amount in random pieces and feeds it to us in other random pieces.
func (r *rig) checkReceive(t *testing.T, random *rand.Rand) {
	t.Helper()
	want := pattern(random.IntN(100_000))
	for rest := want; len(rest) > 0; {
		n := min(len(rest), 1+random.IntN(40_000))
		if _, err := r.peer.Write(rest[:n]); err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	var got, input []byte
	for wire := r.wire.take(); len(wire) > 0; {
		n := min(len(wire), 1+random.IntN(5_000))
		input = append(input, wire[:n]...)
		wire = wire[n:]
		data, left := r.openSome(t, input)
		got = append(got, data...)
		input = append(input[:0], left...)
	}
	if len(input) != 0 || !bytes.Equal(got, want) {
		t.Fatalf("opened %d bytes, want the %d written; %d unconsumed", len(got), len(want), len(input))
	}
}

// openSome opens the whole records of input and checks that Need is the truth.
func (r *rig) openSome(t *testing.T, input []byte) (data, left []byte) {
	t.Helper()
	for {
		got, err := r.leg.Open(&r.keys, input)
		if err != nil {
			t.Fatal(err)
		}
		if got.Kind == NeedMore {
			if want := missing(input); got.Need != want || got.Consumed != 0 {
				t.Fatalf("got need %d, consumed %d, want %d, 0", got.Need, got.Consumed, want)
			}
			return data, input
		}
		if got.Kind == Data {
			data = append(data, got.Plain...)
		}
		input = input[got.Consumed:]
	}
}

func missing(input []byte) int {
	if len(input) < headerSize {
		return headerSize - len(input)
	}
	return headerSize + int(input[3])<<8 + int(input[4]) - len(input)
}

// checkSend seals a random amount in random pieces for crypto/tls.
func (r *rig) checkSend(t *testing.T, random *rand.Rand) {
	t.Helper()
	want := pattern(1 + random.IntN(100_000))
	var out []byte
	for rest := want; len(rest) > 0; {
		n := min(len(rest), 1+random.IntN(40_000))
		before := len(out)
		var err error
		if out, err = r.leg.Seal(&r.keys, out, rest[:n]); err != nil {
			t.Fatal(err)
		}
		if got := len(out) - before; got > SealedSize(n) {
			t.Fatalf("sealed %d bytes into %d, want at most %d", n, got, SealedSize(n))
		}
		rest = rest[n:]
	}
	_, _ = r.wire.Write(out)
	if got := readPeer(t, r.peer, len(want)); !bytes.Equal(got, want) {
		t.Fatal("crypto/tls read other bytes than were sealed")
	}
}

// TestFullRecords: bulk leaves in records of 16 KiB.
func TestFullRecords(t *testing.T) {
	for _, c := range allCases() {
		r := newRig(t, c)
		out, err := r.leg.Seal(&r.keys, nil, make([]byte, 2*maxPlain+1))
		if err != nil {
			t.Fatal(err)
		}
		var sizes []int
		for len(out) > 0 {
			n, err := flightRecord(out)
			if err != nil {
				t.Fatal(err)
			}
			sizes = append(sizes, n)
			out = out[n:]
		}
		over := sizes[len(sizes)-1] - 1
		if want := []int{maxPlain + over, maxPlain + over, 1 + over}; !slices.Equal(sizes, want) || over > Overhead {
			t.Errorf("%v: got records of %d bytes, want %d", c, sizes, want)
		}
	}
}

func TestCloseNotifyBothWays(t *testing.T) {
	for _, c := range allCases() {
		r := newRig(t, c)
		out, err := r.leg.AppendClose(&r.keys, nil, nil)
		if err != nil || !r.leg.OutClosed() {
			t.Fatalf("%v: AppendClose: %v", c, err)
		}
		_, _ = r.wire.Write(out)
		if _, err := r.peer.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("%v: crypto/tls got %v, want EOF", c, err)
		}
		if again, err := r.leg.AppendClose(&r.keys, nil, nil); len(again) != 0 || err != nil {
			t.Errorf("%v: a second AppendClose: got %d bytes, %v, want none", c, len(again), err)
		}
		if _, err := r.leg.Seal(&r.keys, nil, []byte("x")); err != ErrDead {
			t.Errorf("%v: Seal after close_notify: got %v, want ErrDead", c, err)
		}
	}
}

// TestHalfClose: the peer's close_notify ends its direction only, and what follows it is not looked at.
func TestHalfClose(t *testing.T) {
	for _, c := range allCases() {
		r := newRig(t, c)
		if err := r.peer.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		input := append(r.wire.take(), "garbage"...)
		_, kinds := drain(t, &r.leg, &r.keys, input)
		if n := len(kinds); n < 2 || kinds[n-1] != Closed || kinds[n-2] != Closed || !r.leg.InClosed() {
			t.Fatalf("%v: got kinds %v, want two Closed at the end", c, kinds)
		}
		out, err := r.leg.Seal(&r.keys, nil, []byte("still here"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = r.wire.Write(out)
		if got := readPeer(t, r.peer, 10); string(got) != "still here" {
			t.Errorf("%v: got %q", c, got)
		}
	}
}

// TestKeyUpdateAskedByUs: crypto/tls never begins one, but answers ours, so both directions change keys.
func TestKeyUpdateAskedByUs(t *testing.T) {
	for _, c := range allCases() {
		if c.version != version13 {
			continue
		}
		r := newRig(t, c)
		for i := range 40 { // beyond the initial credit, which the data earns back
			out, err := r.leg.out.seal(&r.keys.out, nil, typeHandshake, []byte{msgKeyUpdate, 0, 0, 1, 1})
			if err != nil {
				t.Fatal(err)
			}
			r.leg.out.update()
			if out, err = r.leg.Seal(&r.keys, out, pattern(costUpdate*kib)); err != nil {
				t.Fatal(err)
			}
			_, _ = r.wire.Write(out)
			readPeer(t, r.peer, costUpdate*kib)
			if _, err := r.peer.Write([]byte{byte(i)}); err != nil {
				t.Fatal(err)
			}
			if got, _ := drain(t, &r.leg, &r.keys, r.wire.take()); len(got) != 1 || got[0] != byte(i) {
				t.Fatalf("%v: round %d: got %x", c, i, got)
			}
		}
		if r.leg.Owes() {
			t.Errorf("%v: an answer that was not asked for", c)
		}
	}
}

// TestOwnKeyUpdate: our key changes at the suite's limit, and crypto/tls follows.
func TestOwnKeyUpdate(t *testing.T) {
	for _, c := range allCases() {
		if c.version != version13 {
			continue
		}
		r := newRig(t, c)
		limit := &suites[r.leg.out.suite].limit
		before := *limit
		*limit = 2
		out, err := r.leg.Seal(&r.keys, nil, pattern(10*maxPlain))
		*limit = before
		if err != nil {
			t.Fatal(err)
		}
		_, _ = r.wire.Write(out)
		if got := readPeer(t, r.peer, 10*maxPlain); !bytes.Equal(got, pattern(10*maxPlain)) {
			t.Errorf("%v: crypto/tls read other bytes than were sealed", c)
		}
	}
}

// TestKeyLimit: the limits are those of RFC 8446 5.5, and the KeyUpdate goes out before the record that would break them.
func TestKeyLimit(t *testing.T) {
	for _, c := range []struct {
		suite uint16
		limit uint64
	}{
		{tls.TLS_AES_128_GCM_SHA256, 1 << 24},
		{tls.TLS_AES_256_GCM_SHA384, 1 << 24},
		{tls.TLS_CHACHA20_POLY1305_SHA256, 1 << 48},
	} {
		leg := testLeg(t, version13, c.suite, AsClient)
		leg.out.seq = c.limit - 1
		peer := peerOf(&leg)
		out, err := leg.Seal(new(Keys), nil, pattern(3*maxPlain))
		if err != nil {
			t.Fatal(err)
		}
		got, kinds := drain(t, &peer, new(Keys), out)
		if want := []Kind{Data, Control, Data, Data}; !bytes.Equal(got, pattern(3*maxPlain)) || !slices.Equal(kinds, want) {
			t.Errorf("%04x: got %d bytes in records %v, want them in %v", c.suite, len(got), kinds, want)
		}
		if leg.out.seq != 2 || peer.Owes() {
			t.Errorf("%04x: got sequence number %d, owes %v, want 2, false", c.suite, leg.out.seq, peer.Owes())
		}
	}
}

// peerOf returns the leg at the other end of l.
func peerOf(l *Leg) Leg {
	role := AsClient
	if l.role == AsClient {
		role = AsServer
	}
	return Leg{in: l.out, out: l.in, role: role, credit: creditFull}
}

// TestTickets: those of crypto/tls arrive as kind Ticket, and sealed again they fill the session cache of the tls.Conn
// that did the handshake (DESIGN 3.6).
func TestTickets(t *testing.T) {
	for _, c := range allCases() {
		if c.version != version13 || c.role != AsClient {
			continue
		}
		r := newRig(t, c)
		input := r.wire.take()
		got, err := r.leg.Open(&r.keys, input)
		if err != nil || got.Kind != Ticket || got.Consumed != len(input) || r.leg.Tickets() != 1 {
			t.Fatalf("%v: got %+v, %v, %d tickets, want 1 in a record", c, got, err, r.leg.Tickets())
		}
		sealed, err := r.first.ResealTicket(nil, got.Plain)
		if err != nil {
			t.Fatal(err)
		}
		errStop := errors.New("no more tickets")
		r.exact.Conn = &feed{Conn: r.wire, Reader: io.MultiReader(bytes.NewReader(sealed), iotest.ErrReader(errStop))}
		if _, err := r.own.Read(make([]byte, 1)); !errors.Is(err, errStop) {
			t.Fatalf("%v: crypto/tls reads the ticket: got %v, want %v", c, err, errStop)
		}
		checkResumes(t, r, c)
	}
}

// feed is a connection with another source.
type feed struct {
	net.Conn
	io.Reader
}

func (f *feed) Read(b []byte) (int, error) { return f.Reader.Read(b) }

// checkResumes shakes hands again with what the ticket left in the session cache.
func checkResumes(t *testing.T, r *rig, c tlsCase) {
	t.Helper()
	defer only13(c.suite)()
	a, b := newPipe()
	server := tls.Server(b, r.peerConfig)
	failed := make(chan error, 1)
	go shake(server, failed) // ends with the handshake
	if err := tls.Client(a, r.ownConfig).Handshake(); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil || !server.ConnectionState().DidResume {
		t.Errorf("%v: resumed: got %v, %v, want true", c, server.ConnectionState().DidResume, err)
	}
}
