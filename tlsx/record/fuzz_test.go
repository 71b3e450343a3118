package record

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// fuzzCases keep the handshakes cheap: ECDSA only.
var fuzzCases = []tlsCase{
	{version13, tls.TLS_AES_128_GCM_SHA256, AsServer},
	{version13, tls.TLS_AES_128_GCM_SHA256, AsClient},
	{version13, tls.TLS_CHACHA20_POLY1305_SHA256, AsClient},
	{version12, tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, AsServer},
	{version12, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, AsClient},
	{version12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, AsClient},
}

// script turns fuzz input into decisions; at its end they are all 0.
type script []byte

func (s *script) next() byte {
	if len(*s) == 0 {
		return 0
	}
	b := (*s)[0]
	*s = (*s)[1:]
	return b
}

func (s *script) bytes(n int) []byte {
	n = min(n, len(*s))
	b := (*s)[:n]
	*s = (*s)[n:]
	return b
}

// maxSteps bounds the records of one input.
const maxSteps = 100

// records lets a sender make records as the script says, most of them legal.
func (s *sender) records(sc *script) (stream []byte) {
	for range maxSteps {
		if len(*sc) == 0 {
			break
		}
		rec := s.step(sc)
		stream = append(stream, rec...)
	}
	return stream
}

func (s *sender) step(sc *script) []byte {
	tls13 := s.h.Version() == version13
	op, arg := sc.next(), sc.next()
	switch op % 14 {
	case 0:
		return s.rec(typeData, pattern(int(arg))...)
	case 1:
		return s.rec(typeData, pattern(64*int(arg))...)
	case 2:
		return s.rec(typeData)
	case 3:
		return s.rec(typeAlert, arg, sc.next())
	case 4:
		return s.rec(typeAlert, 1, 90)
	case 5:
		return s.rec(typeHandshake, sc.bytes(int(arg))...)
	case 6:
		return s.rec(typeHandshake, realTicket(int(arg))...)
	case 7:
		message := realTicket(int(arg))
		cut := 1 + int(sc.next())%(len(message)-1)
		return append(s.rec(typeHandshake, message[:cut]...), s.rec(typeHandshake, message[cut:]...)...)
	case 8, 9:
		if !tls13 {
			return s.rec(typeHandshake, 0, 0, 0, 0)
		}
		return s.update(arg % 2)
	case 10:
		return s.rec(arg, sc.bytes(int(sc.next())%8)...)
	case 11:
		return plainRec(arg, version12, sc.bytes(int(sc.next()))...)
	case 12:
		return flip(s.rec(typeData, pattern(int(arg))...), int(sc.next())%(headerSize+int(arg)))
	}
	return s.rec(typeData, pattern(maxPlain-1+int(arg)%3)...)
}

// realTicket is a NewSessionTicket that crypto/tls can parse.
func realTicket(n int) []byte {
	body := []byte{0, 0, 1, 0, 1, 2, 3, 4, 1, 0, 0, byte(n + 1)} // an hour or less, age, nonce, ticket of n+1 bytes
	body = append(body, pattern(n+1)...)
	body = append(body, 0, 0)
	return append([]byte{msgTicket, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

// outcome is how a stream of records ended.
type outcome struct {
	data  []byte
	end   string // "open", "closed", "peer alert" or "refused"
	alert Alert  // with the last two
	rule  error  // with "refused": ours, or what crypto/tls says
}

// openOurs feeds a stream in pieces that the script cuts.
func openOurs(l *Leg, k *Keys, stream []byte, cuts script) (o outcome) {
	var input []byte
	for len(stream) > 0 {
		n := min(len(stream), 1+int(cuts.next())*int(cuts.next()))
		if len(cuts) == 0 {
			n = len(stream)
		}
		input = append(input, stream[:n]...)
		stream = stream[n:]
		for {
			got, err := l.Open(k, input)
			if err != nil {
				return o.failed(err)
			}
			if got.Kind == NeedMore {
				break
			}
			if got.Kind == Data {
				o.data = append(o.data, got.Plain...)
			}
			input = input[got.Consumed:]
		}
	}
	o.end = "open"
	if l.InClosed() {
		o.end = "closed"
	}
	return o
}

func (o outcome) failed(err error) outcome {
	var peer PeerAlert
	if errors.As(err, &peer) {
		o.end, o.alert = "peer alert", Alert(peer)
		return o
	}
	o.end, o.alert, o.rule = "refused", err.(*Violation).Alert, err
	return o
}

var errStreamEnd = errors.New("no more records")

// openTheirs feeds a stream to the tls.Conn that was taken over, which is in the same state as our leg.
func openTheirs(r *rig, stream []byte) (o outcome) {
	sink := new(bytes.Buffer)
	r.exact.Conn = &feed{Conn: discard{r.wire, sink}, Reader: io.MultiReader(bytes.NewReader(stream), iotest.ErrReader(errStreamEnd))}
	buf := make([]byte, maxPlain)
	for {
		n, err := r.own.Read(buf)
		o.data = append(o.data, buf[:n]...)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errStreamEnd):
			o.end = "open"
		case err == io.EOF:
			o.end = "closed"
		case strings.HasPrefix(err.Error(), "remote error"):
			o.end = "peer alert"
		default:
			o.end, o.rule = "refused", err
			o.alert = lastAlert(r.leg.out, sink.Bytes())
		}
		return o
	}
}

// discard is a connection that writes elsewhere.
type discard struct {
	*pipe
	sink *bytes.Buffer
}

func (d discard) Write(b []byte) (int, error) { return d.sink.Write(b) }

// lastAlert opens what crypto/tls wrote, KeyUpdates and then an alert.
func lastAlert(h Half, written []byte) (alert Alert) {
	var x expanded
	for len(written) > 0 {
		size, err := flightRecord(written)
		if err != nil {
			return 0
		}
		typ, plain, err := h.open(&x, written[:size])
		if err != nil {
			return 0
		}
		if typ == typeHandshake {
			h.update()
		} else if typ == typeAlert {
			alert = Alert(plain[1])
		}
		written = written[size:]
	}
	return alert
}

// stricter lists the rules by which we refuse what crypto/tls takes, takes later, or refuses in other words; doc.go gives the
// reasons. By every rule that is not here both must refuse with the same alert, after the same data.
var stricter = map[error]bool{
	errContentType: true, // it drops ChangeCipherSpec, and looks at the tag of other types first
	errAlertLength: true, // it says unexpected_message, here and below
	errAlertLevel:  true,
	errMessageType: true, // it waits for the whole message
	errMessageSize: true,
	errUpdateValue: true,
	errRenegotiate: true,
	errCredit:      true,
}

// checkSame compares how both took a stream.
func checkSame(t *testing.T, ours, theirs outcome) {
	t.Helper()
	shorter := min(len(ours.data), len(theirs.data))
	if !bytes.Equal(ours.data[:shorter], theirs.data[:shorter]) {
		t.Fatal("other data")
	}
	if ours.end == theirs.end && ours.alert == theirs.alert && len(ours.data) == len(theirs.data) {
		return
	}
	if ours.end == "peer alert" && theirs.end == ours.end {
		return // the number is in an unexported type there
	}
	if ours.end == "refused" && stricter[ours.rule] && len(ours.data) == shorter {
		return
	}
	if theirs.end == "refused" && countsMore(theirs.rule) && len(theirs.data) == shorter {
		return
	}
	t.Errorf("we: %d bytes, then %s %v (%v); crypto/tls: %d bytes, then %s %v (%v)",
		len(ours.data), ours.end, ours.alert, ours.rule, len(theirs.data), theirs.end, theirs.alert, theirs.rule)
}

// countsMore reports that crypto/tls stopped where we go on: it allows 16 KiB of message, 16 KeyUpdates or tickets in a
// row, and reads the tickets that we count off.
func countsMore(err error) bool {
	for _, text := range []string{"too many", "handshake message of length", "decoding message", "invalid session ticket",
		"received a session ticket with invalid lifetime", "illegal parameter", "unmarshal", "unsupported extension"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// FuzzOpen: what we open is what crypto/tls opens, and what we refuse it refuses, but for the list above.
func FuzzOpen(f *testing.F) {
	f.Add(byte(0), []byte{0, 5, 1, 200, 2, 0, 0, 9}, []byte{3, 3})
	f.Add(byte(1), []byte{6, 99, 7, 99, 50, 8, 1, 0, 5, 9, 0, 0, 5, 3, 1, 0, 0, 4}, []byte{200, 200, 1, 1})
	f.Add(byte(2), []byte{0, 5, 12, 30, 7}, []byte{})
	f.Add(byte(3), []byte{0, 5, 4, 0, 3, 2, 40}, []byte{1, 1, 1, 1})
	f.Add(byte(4), []byte{13, 1, 0, 5, 13, 2}, []byte{255, 255})
	f.Add(byte(5), []byte{0, 5, 8, 0, 0, 5}, []byte{255, 255})
	f.Add(byte(0), []byte{11, 20, 1, 1, 0, 5}, []byte{})
	f.Add(byte(1), []byte{10, 22, 1, 24, 0, 5}, []byte{})
	f.Add(byte(1), bytes.Repeat([]byte{8, 1, 0, 1}, 40), []byte{})
	f.Add(byte(0), bytes.Repeat([]byte{2, 1}, 17), []byte{})
	f.Fuzz(func(t *testing.T, which byte, what, cuts []byte) {
		r := newRig(t, fuzzCases[int(which)%len(fuzzCases)])
		sc := script(what)
		stream := (&sender{h: r.leg.in}).records(&sc)
		theirs := openTheirs(r, bytes.Clone(stream))
		checkSame(t, openOurs(&r.leg, &r.keys, stream, cuts), theirs)
	})
}

// FuzzSeal: whatever we seal, with KeyUpdates in between, crypto/tls reads.
func FuzzSeal(f *testing.F) {
	f.Add(byte(0), []byte{1, 2, 3, 255, 255})
	f.Add(byte(1), []byte{0, 0, 200})
	f.Add(byte(3), []byte{255, 1, 255})
	f.Fuzz(func(t *testing.T, which byte, sizes []byte) {
		r := newRig(t, fuzzCases[int(which)%len(fuzzCases)])
		var want, out []byte
		for _, b := range sizes[:min(len(sizes), maxSteps)] {
			if b%4 == 3 && r.leg.Version() == version13 {
				r.leg.flags |= flagOwes // as a KeyUpdate of the peer would
			}
			plain := pattern(int(b) * int(b))
			var err error
			if out, err = r.leg.Seal(&r.keys, out, plain); err != nil {
				t.Fatal(err)
			}
			want = append(want, plain...)
			if len(sizes)%2 == 0 {
				out = slices.Clip(out) // no capacity to seal into
			}
		}
		out, err := r.leg.AppendClose(&r.keys, out, nil)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = r.wire.Write(out)
		if got, err := io.ReadAll(r.peer); err != nil || !bytes.Equal(got, want) {
			t.Errorf("crypto/tls read %d bytes, %v, want %d", len(got), err, len(want))
		}
	})
}
