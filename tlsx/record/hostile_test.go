package record

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
)

// sender is a peer that keeps no rule but the keys.
type sender struct {
	h Half
	x expanded
}

// rec seals one record.
func (s *sender) rec(typ byte, plain ...byte) []byte {
	out, err := s.h.seal(&s.x, nil, typ, plain)
	if err != nil {
		panic(err)
	}
	return out
}

// padded seals a TLS 1.3 record with zeros behind the type.
func (s *sender) padded(typ byte, zeros int, plain ...byte) []byte {
	if zeros == 0 {
		return s.rec(typ, plain...)
	}
	inner := append(append(plain, typ), make([]byte, zeros-1)...)
	return s.rec(0, inner...)
}

// data seals application data.
func (s *sender) data(text string) []byte { return s.rec(typeData, []byte(text)...) }

// update seals a KeyUpdate and goes on with the next key.
func (s *sender) update(request byte) []byte {
	out := s.rec(typeHandshake, msgKeyUpdate, 0, 0, 1, request)
	s.h.update()
	return out
}

// times repeats what makes records.
func times(n int, f func() []byte) (all []byte) {
	for range n {
		all = append(all, f()...)
	}
	return all
}

// plainRec is a record that is not sealed.
func plainRec(typ byte, version uint16, body ...byte) []byte {
	return append([]byte{typ, byte(version >> 8), byte(version), byte(len(body) >> 8), byte(len(body))}, body...)
}

// flip breaks one bit; a negative offset counts from the end.
func flip(rec []byte, offset int) []byte {
	if offset < 0 {
		offset += len(rec)
	}
	rec[offset] ^= 1
	return rec
}

// ticket is a NewSessionTicket message with a body of n bytes.
func ticket(n int) []byte {
	return append([]byte{msgTicket, byte(n >> 16), byte(n >> 8), byte(n)}, pattern(n)...)
}

type violation struct {
	name string
	role Role // 0: both
	send func(s *sender) []byte
	want *Violation
}

var violations13 = []violation{
	{"ChangeCipherSpec", 0, func(*sender) []byte { return plainRec(20, version12, 1) }, errContentType},
	{"plain alert", 0, func(*sender) []byte { return plainRec(typeAlert, version12, 2, 40) }, errContentType},
	{"plain handshake", 0, func(*sender) []byte { return plainRec(typeHandshake, version12, 0, 0, 0, 0) }, errContentType},
	{"record type 24", 0, func(*sender) []byte { return plainRec(24, version12, 0) }, errContentType},
	{"record type 0", 0, func(*sender) []byte { return plainRec(0, version12, 0) }, errContentType},
	{"a header of type 24", 0, func(*sender) []byte { return []byte{24, 3, 3, 0, 50} }, errContentType},
	{"a header of version 0x0301", 0, func(*sender) []byte { return []byte{typeData, 3, 1, 0, 50} }, errVersion},
	{"version 0x0301", 0, func(*sender) []byte { return plainRec(typeData, 0x0301) }, errVersion},
	{"version 0x0304", 0, func(*sender) []byte { return plainRec(typeData, 0x0304) }, errVersion},
	{"body over 2^14+256", 0, func(*sender) []byte { return []byte{typeData, 3, 3, 0x41, 0x01} }, errTooLong},
	{"inner over 2^14+1", 0, func(s *sender) []byte { return s.padded(typeData, 1, pattern(maxPlain+1)...) }, errTooLong},
	{"inner over 2^14+1 by padding", 0, func(s *sender) []byte { return s.padded(typeData, 2, pattern(maxPlain)...) }, errTooLong},
	{"tag", 0, func(s *sender) []byte { return flip(s.data("secret"), -1) }, errTag},
	{"ciphertext", 0, func(s *sender) []byte { return flip(s.data("secret"), 6) }, errTag},
	{"empty body", 0, func(*sender) []byte { return plainRec(typeData, version12) }, errTag},
	{"body of 15 bytes", 0, func(*sender) []byte { return plainRec(typeData, version12, make([]byte, 15)...) }, errTag},
	{"replay", 0, func(s *sender) []byte { return bytes.Repeat(s.data("once"), 2) }, errTag},
	{"gap", 0, func(s *sender) []byte { s.data("lost"); return s.data("secret") }, errTag},
	{"old key", 0, func(s *sender) []byte { return append(s.rec(typeHandshake, keyUpdate[:]...), s.data("secret")...) }, errTag},
	{"padding only", 0, func(s *sender) []byte { return s.rec(0, make([]byte, 100)...) }, errPaddingOnly},
	{"a single zero", 0, func(s *sender) []byte { return s.rec(0) }, errPaddingOnly},
	{"sealed ChangeCipherSpec", 0, func(s *sender) []byte { return s.rec(20, 1) }, errContentType},
	{"sealed heartbeat", 0, func(s *sender) []byte { return s.rec(24, 1) }, errContentType},
	{"sealed type 255", 0, func(s *sender) []byte { return s.rec(255, 1) }, errContentType},
	{"empty handshake record", 0, func(s *sender) []byte { return s.rec(typeHandshake) }, errEmptyRecord},
	{"empty alert record", 0, func(s *sender) []byte { return s.padded(typeAlert, 9) }, errAlertLength},
	{"half an alert", 0, func(s *sender) []byte { return s.rec(typeAlert, 2) }, errAlertLength},
	{"two alerts", 0, func(s *sender) []byte { return s.rec(typeAlert, 1, 90, 1, 0) }, errAlertLength},
	{"data inside a message", 0, func(s *sender) []byte { return append(s.rec(typeHandshake, msgKeyUpdate), s.data("x")...) }, errInterleaved},
	{"close_notify inside a message", 0, func(s *sender) []byte { return append(s.rec(typeHandshake, msgKeyUpdate), s.rec(typeAlert, 1, 0)...) }, errInterleaved},
	{"data inside a ticket", AsClient, func(s *sender) []byte { return append(s.rec(typeHandshake, ticket(40)[:20]...), s.data("x")...) }, errInterleaved},
	{"17 empty records", 0, func(s *sender) []byte { return times(17, func() []byte { return s.rec(typeData) }) }, errIdleFlood},
	{"17 padded empty records", 0, func(s *sender) []byte { return times(17, func() []byte { return s.padded(typeData, 99) }) }, errIdleFlood},
	{"17 user_canceled", 0, func(s *sender) []byte { return times(17, func() []byte { return s.rec(typeAlert, 1, 90) }) }, errIdleFlood},
	{"9 empty records with user_canceled", 0, func(s *sender) []byte {
		return times(9, func() []byte { return append(s.rec(typeData), s.rec(typeAlert, 1, 90)...) })
	}, errIdleFlood},
	{"idle flood among KeyUpdates", 0, func(s *sender) []byte {
		return times(17, func() []byte { return append(s.rec(typeData), s.update(0)...) })
	}, errIdleFlood},
	{"HelloRequest", 0, func(s *sender) []byte { return s.rec(typeHandshake, 0, 0, 0, 0) }, errMessageType},
	{"ClientHello", 0, func(s *sender) []byte { return s.rec(typeHandshake, 1, 0, 0, 41) }, errMessageType},
	{"EndOfEarlyData", 0, func(s *sender) []byte { return s.rec(typeHandshake, 5, 0, 0, 0) }, errMessageType},
	{"CertificateRequest", 0, func(s *sender) []byte { return s.rec(typeHandshake, 13, 0, 0, 3, 0, 0, 0) }, errMessageType},
	{"Finished", 0, func(s *sender) []byte { return s.rec(typeHandshake, 20) }, errMessageType},
	{"ticket to a server", AsServer, func(s *sender) []byte { return s.rec(typeHandshake, ticket(40)...) }, errMessageType},
	{"ticket too short", AsClient, func(s *sender) []byte { return s.rec(typeHandshake, ticket(minTicket-1)...) }, errMessageSize},
	{"ticket too long", AsClient, func(s *sender) []byte { return s.rec(typeHandshake, ticket(maxTicket + 1)[:4]...) }, errMessageSize},
	{"KeyUpdate without body", 0, func(s *sender) []byte { return s.rec(typeHandshake, msgKeyUpdate, 0, 0, 0) }, errMessageSize},
	{"KeyUpdate of 2 bytes", 0, func(s *sender) []byte { return s.rec(typeHandshake, msgKeyUpdate, 0, 0, 2, 0, 0) }, errMessageSize},
	{"KeyUpdate of 2^16+1 bytes", 0, func(s *sender) []byte { return s.rec(typeHandshake, msgKeyUpdate, 1, 0, 1, 0) }, errMessageSize},
	{"KeyUpdate 2", 0, func(s *sender) []byte { return s.rec(typeHandshake, msgKeyUpdate, 0, 0, 1, 2) }, errUpdateValue},
	{"KeyUpdate before a ticket", AsClient, func(s *sender) []byte { return s.rec(typeHandshake, append(keyUpdate[:], ticket(20)...)...) }, errUpdateInside},
	{"two KeyUpdates in a record", 0, func(s *sender) []byte { return s.rec(typeHandshake, append(keyUpdate[:], keyUpdate[:]...)...) }, errUpdateInside},
	{"33 KeyUpdates", 0, func(s *sender) []byte { return times(33, func() []byte { return s.update(0) }) }, errCredit},
	{"33 KeyUpdates requested", 0, func(s *sender) []byte { return times(33, func() []byte { return s.update(1) }) }, errCredit},
	{"33 KeyUpdates among 63 KiB each", 0, func(s *sender) []byte {
		return times(32*64+1, func() []byte { return append(s.update(0), times(63, func() []byte { return s.data("x") })...) })
	}, errCredit},
	{"257 ticket records", AsClient, func(s *sender) []byte {
		return times(257, func() []byte { return s.rec(typeHandshake, ticket(20)...) })
	}, errCredit},
	{"last sequence number", 0, func(s *sender) []byte { return s.data("x") }, errInSequence},
}

var violations12 = []violation{
	{"ChangeCipherSpec", 0, func(*sender) []byte { return plainRec(20, version12, 1) }, errContentType},
	{"sealed ChangeCipherSpec", 0, func(s *sender) []byte { return s.rec(20, 1) }, errContentType},
	{"heartbeat", 0, func(s *sender) []byte { return s.rec(24, 1) }, errContentType},
	{"a header of type 24", 0, func(*sender) []byte { return []byte{24, 3, 3, 0, 50} }, errContentType},
	{"a header of version 0x0301", 0, func(*sender) []byte { return []byte{typeData, 3, 1, 0, 50} }, errVersion},
	{"version 0x0301", 0, func(*sender) []byte { return plainRec(typeData, 0x0301) }, errVersion},
	{"version 0x0304", 0, func(*sender) []byte { return plainRec(typeData, 0x0304) }, errVersion},
	{"body over 2^14+2048", 0, func(*sender) []byte { return []byte{typeData, 3, 3, 0x48, 0x01} }, errTooLong},
	{"content over 2^14", 0, func(s *sender) []byte { return s.rec(typeData, pattern(maxPlain+1)...) }, errTooLong},
	{"tag", 0, func(s *sender) []byte { return flip(s.data("secret"), -1) }, errTag},
	{"ciphertext or nonce", 0, func(s *sender) []byte { return flip(s.data("secret"), headerSize) }, errTag},
	{"type", 0, func(s *sender) []byte { return flip(s.data("secret"), 0) }, errTag},
	{"empty body", 0, func(*sender) []byte { return plainRec(typeData, version12) }, errTag},
	{"body of 7 bytes", 0, func(*sender) []byte { return plainRec(typeData, version12, make([]byte, 7)...) }, errTag},
	{"body of 15 bytes", 0, func(*sender) []byte { return plainRec(typeData, version12, make([]byte, 15)...) }, errTag},
	{"replay", 0, func(s *sender) []byte { return bytes.Repeat(s.data("once"), 2) }, errTag},
	{"gap", 0, func(s *sender) []byte { s.data("lost"); return s.data("secret") }, errTag},
	{"empty handshake record", 0, func(s *sender) []byte { return s.rec(typeHandshake) }, errEmptyRecord},
	{"empty alert record", 0, func(s *sender) []byte { return s.rec(typeAlert) }, errAlertLength},
	{"two alerts", 0, func(s *sender) []byte { return s.rec(typeAlert, 1, 90, 1, 0) }, errAlertLength},
	{"alert level 3", 0, func(s *sender) []byte { return s.rec(typeAlert, 3, 40) }, errAlertLevel},
	{"17 empty records", 0, func(s *sender) []byte { return times(17, func() []byte { return s.rec(typeData) }) }, errIdleFlood},
	{"17 warnings", 0, func(s *sender) []byte { return times(17, func() []byte { return s.rec(typeAlert, 1, 100) }) }, errIdleFlood},
	{"HelloRequest", AsClient, func(s *sender) []byte { return s.rec(typeHandshake, 0, 0, 0, 0) }, errRenegotiate},
	{"HelloRequest to a server", AsServer, func(s *sender) []byte { return s.rec(typeHandshake, 0, 0, 0, 0) }, errMessageType},
	{"ClientHello", AsServer, func(s *sender) []byte { return s.rec(typeHandshake, 1, 0, 0, 41) }, errRenegotiate},
	{"ClientHello to a client", AsClient, func(s *sender) []byte { return s.rec(typeHandshake, 1, 0, 0, 41) }, errMessageType},
	{"ticket", 0, func(s *sender) []byte { return s.rec(typeHandshake, ticket(20)...) }, errMessageType},
	{"KeyUpdate", 0, func(s *sender) []byte { return s.rec(typeHandshake, keyUpdate[:]...) }, errMessageType},
	{"Finished", 0, func(s *sender) []byte { return s.rec(typeHandshake, 20, 0, 0, 12) }, errMessageType},
	{"last sequence number", 0, func(s *sender) []byte { return s.data("x") }, errInSequence},
}

// TestViolations: each ends the leg by the right error, without a byte of the record, and is worded by the right alert.
func TestViolations(t *testing.T) {
	for version, cases := range map[uint16][]violation{version12: violations12, version13: violations13} {
		for _, v := range cases {
			for _, s := range suites[1:] {
				for _, role := range []Role{AsServer, AsClient} {
					if s.version == version && (v.role == 0 || v.role == role) {
						leg := testLeg(t, version, s.id, role)
						t.Run(fmt.Sprintf("%04x/%d/%s", s.id, role, v.name), func(t *testing.T) { checkViolation(t, leg, v) })
					}
				}
			}
		}
	}
}

func checkViolation(t *testing.T, leg Leg, v violation) {
	s := sender{h: leg.in}
	if v.want == errInSequence {
		leg.in.seq = math.MaxUint64
	}
	input := v.send(&s)
	var keys Keys
	got, err := openAll(&leg, &keys, input)
	if err != v.want {
		t.Fatalf("got %v, want %v", err, v.want)
	}
	if got.Plain != nil || got.Consumed != 0 {
		t.Errorf("got %d bytes, %d consumed with an error, want none", len(got.Plain), got.Consumed)
	}
	if v.want == errTag && bytes.Contains(input, []byte("secret")) {
		t.Error("unauthenticated plaintext is left in the buffer")
	}
	if _, err := leg.Open(&keys, s.data("x")); err != ErrDead {
		t.Errorf("Open afterwards: got %v, want ErrDead", err)
	}
	if _, err := leg.Seal(&keys, nil, []byte("x")); err != ErrDead {
		t.Errorf("Seal afterwards: got %v, want ErrDead", err)
	}
	checkFarewell(t, &leg, &keys, err)
}

// openAll opens records until one fails or more is needed.
func openAll(l *Leg, k *Keys, input []byte) (got Opened, err error) {
	for {
		got, err = l.Open(k, input)
		if err != nil || got.Kind == NeedMore {
			return got, err
		}
		input = input[got.Consumed:]
	}
}

// checkFarewell opens what AppendClose says about a violation, wrapped as callers do.
func checkFarewell(t *testing.T, l *Leg, k *Keys, cause error) {
	t.Helper()
	want := [][]byte{{levelFatal, byte(cause.(*Violation).Alert)}}
	if cause == errRenegotiate {
		want = [][]byte{{levelWarning, byte(NoRenegotiation)}, {levelWarning, byte(CloseNotify)}}
	}
	h, x := l.out, expanded{}
	out, err := l.AppendClose(k, nil, fmt.Errorf("reading from the client: %w", cause))
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range want {
		size, err := flightRecord(out)
		if err != nil {
			t.Fatal(err)
		}
		typ, plain, err := h.open(&x, out[:size])
		if err != nil || typ != typeAlert || !bytes.Equal(plain, w) {
			t.Errorf("farewell: got type %d, %v, %v, want alert %v", typ, plain, err, w)
		}
		out = out[size:]
	}
	if len(out) != 0 || !l.OutClosed() {
		t.Errorf("farewell: got %d more bytes, closed %v", len(out), l.OutClosed())
	}
}

func TestPeerAlerts(t *testing.T) {
	for _, c := range []struct {
		version      uint16
		level, alert byte
		want         string
	}{
		{version13, 2, 40, "handshake_failure"},
		{version13, 1, 40, "handshake_failure"}, // the level does not matter
		{version13, 2, 116, "certificate_required"},
		{version13, 2, 42, "bad_certificate"},
		{version13, 1, 100, "no_renegotiation"},
		{version13, 9, 10, "unexpected_message"},
		{version13, 1, 200, "alert(200)"},
		{version12, 2, 40, "handshake_failure"},
		{version12, 2, 90, "user_canceled"},
		{version12, 2, 200, "alert(200)"},
	} {
		leg := gcmLeg(t, c.version)
		s := sender{h: leg.in}
		var keys Keys
		got, err := leg.Open(&keys, s.rec(typeAlert, c.level, c.alert))
		var alert PeerAlert
		if !errors.As(err, &alert) || alert != PeerAlert(c.alert) || !strings.HasSuffix(err.Error(), c.want) || got.Consumed != 0 {
			t.Errorf("%04x %d %d: got %v, want %s", c.version, c.level, c.alert, err, c.want)
		}
		if out, err := leg.AppendClose(&keys, nil, err); len(out) != 0 || err != nil || !leg.OutClosed() {
			t.Errorf("%04x %d %d: answered by %d bytes, %v, want silence", c.version, c.level, c.alert, len(out), err)
		}
	}
}

func gcmLeg(t testing.TB, version uint16) Leg {
	t.Helper()
	if version == version12 {
		return testLeg(t, version, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, AsClient)
	}
	return testLeg(t, version, tls.TLS_AES_128_GCM_SHA256, AsClient)
}

// TestIgnored: 16 records that carry nothing may stand between any two that do.
func TestIgnored(t *testing.T) {
	for name, c := range map[string]struct {
		version uint16
		send    func(s *sender) []byte
	}{
		"1.3 user_canceled":       {version13, func(s *sender) []byte { return s.rec(typeAlert, 1, 90) }},
		"1.3 user_canceled fatal": {version13, func(s *sender) []byte { return s.rec(typeAlert, 2, 90) }},
		"1.3 empty":               {version13, func(s *sender) []byte { return s.rec(typeData) }},
		"1.3 empty, padded":       {version13, func(s *sender) []byte { return s.padded(typeData, 1000) }},
		"1.2 no_renegotiation":    {version12, func(s *sender) []byte { return s.rec(typeAlert, 1, 100) }},
		"1.2 user_canceled":       {version12, func(s *sender) []byte { return s.rec(typeAlert, 1, 90) }},
		"1.2 unknown warning":     {version12, func(s *sender) []byte { return s.rec(typeAlert, 1, 200) }},
		"1.2 empty":               {version12, func(s *sender) []byte { return s.rec(typeData) }},
	} {
		leg := gcmLeg(t, c.version)
		s := sender{h: leg.in}
		input := times(3, func() []byte { return append(times(MaxIdle, func() []byte { return c.send(&s) }), s.data("x")...) })
		if got, _ := drain(t, &leg, new(Keys), input); string(got) != "xxx" {
			t.Errorf("%s: got %q, want xxx", name, got)
		}
	}
}

// TestLargestRecords: what is just inside the limits is taken.
func TestLargestRecords(t *testing.T) {
	for _, c := range []struct {
		version uint16
		zeros   int
		size    int
	}{
		{version13, 0, maxPlain}, {version13, 1, maxPlain - 1}, {version13, maxPlain - 1, 1}, {version12, 0, maxPlain},
	} {
		leg := gcmLeg(t, c.version)
		s := sender{h: leg.in}
		if got, _ := drain(t, &leg, new(Keys), s.padded(typeData, c.zeros, pattern(c.size)...)); len(got) != c.size {
			t.Errorf("%04x, %d zeros: got %d bytes, want %d", c.version, c.zeros, len(got), c.size)
		}
	}
}

// TestExhausted: the last sequence number of TLS 1.2 is not used.
func TestExhausted(t *testing.T) {
	leg := gcmLeg(t, version12)
	leg.out.seq = math.MaxUint64 - 1
	var keys Keys
	if _, err := leg.Seal(&keys, nil, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if out, err := leg.Seal(&keys, nil, []byte("x")); err != ErrExhausted || len(out) != 0 {
		t.Errorf("Seal: got %d bytes, %v, want ErrExhausted", len(out), err)
	}
	if out, err := leg.AppendClose(&keys, nil, nil); err != ErrExhausted || len(out) != 0 {
		t.Errorf("AppendClose: got %d bytes, %v, want ErrExhausted", len(out), err)
	}
}
