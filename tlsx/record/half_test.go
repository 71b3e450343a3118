package record

import (
	"bytes"
	"crypto/hkdf"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unsafe"
)

// The trace of RFC 8448 3.
const (
	trafficClient = "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
	trafficServer = "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"
	ticketRecord  = `17030300de 3a6b8f90414a97d6959c3487680de5134a2b240e6cffac116e95d41d6af8f6b580dcf3d11d63c758db289a0159
		40252f55713e061dc13e078891a38efbcf5753ad8ef170ad3c7353d16d9da773b9ca7f2b9fa1b6c0d4a3d03f75e09c30ba1e62972ac46f75
		f7b981be63439b2999ce13064615139891d5e4c5b406f16e3fc181a77ca475840025db2f0a77f81b5ab05b94c01346755f69232c86519d86cb
		eeac87aac347d143f9605d64f650db4d023e70e952ca49fe5137121c74bc2697687e248746d6df353005f3bce18696129c8153556b3b6c6779
		b37bf15985684f`
	clientData = `1703030043 a23f7054b62c94d0affafe8228ba55cbefacea42f914aa66bcab3f2b9819a8a5b46b395bd54a9a20441e2b62974e
		1f5a6292a2977014bd1e3deae63aeebb21694915e4`
	serverData = `1703030043 2e937e11ef4ac740e538ad36005fc4a46932fc3225d05f82aa1b36e30efaf97d90e6dffc602dcb501a59a8fcc49c
		4bf2e5f0a21c0047c2abf332540dd032e167c2955d`
	clientClose = "1703030013 c9872760655666b74d7ff1153efd6db6d0b0e3"
	serverClose = "1703030013 b58fd67166ebf599d24720cfbe7efa7a8864a9"
)

// traceLegs are the two ends of RFC 8448 3, the server's behind its ticket.
func traceLegs(t *testing.T) (client, server Leg) {
	t.Helper()
	c, err := NewHalf13(tls.TLS_AES_128_GCM_SHA256, unhex(t, trafficClient))
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewHalf13(tls.TLS_AES_128_GCM_SHA256, unhex(t, trafficServer))
	if err != nil {
		t.Fatal(err)
	}
	if client, err = NewLeg(AsClient, s, c); err != nil {
		t.Fatal(err)
	}
	if n, err := s.SkipSealed(unhex(t, ticketRecord)); n != 1 || err != nil {
		t.Fatalf("SkipSealed: got %d, %v, want 1", n, err)
	}
	if server, err = NewLeg(AsServer, c, s); err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestTrace(t *testing.T) {
	client, server := traceLegs(t)
	data := make([]byte, 50)
	for i := range data {
		data[i] = byte(i)
	}
	for _, c := range []struct {
		name  string
		leg   *Leg
		open  string
		kinds []Kind
	}{
		{"client", &client, ticketRecord + serverData + serverClose, []Kind{Ticket, Data, Closed}},
		{"server", &server, clientData + clientClose, []Kind{Data, Closed}},
	} {
		got, kinds := drain(t, c.leg, new(Keys), unhex(t, c.open))
		if !bytes.Equal(got, data) || !slices.Equal(kinds, c.kinds) {
			t.Errorf("%s opens %x in %v, want %x in %v", c.name, got, kinds, data, c.kinds)
		}
	}
	for _, c := range []struct {
		name string
		leg  *Leg
		want string
	}{
		{"client", &client, clientData + clientClose},
		{"server", &server, serverData + serverClose},
	} {
		var keys Keys
		out, err := c.leg.Seal(&keys, nil, data)
		if err != nil {
			t.Fatal(err)
		}
		if out, err = c.leg.AppendClose(&keys, out, nil); err != nil || !bytes.Equal(out, unhex(t, c.want)) {
			t.Errorf("%s seals %x, %v, want %s", c.name, out, err, c.want)
		}
	}
}

func TestTraceKeys(t *testing.T) {
	client, server := traceLegs(t)
	for _, c := range []struct{ name, got, want string }{
		{"client key", hex.EncodeToString(client.out.AppendKey(nil)), "17422dda596ed5d9acd890e3c63f5051"},
		{"client iv", hex.EncodeToString(client.out.iv()), "5b78923dee08579033e523d9"},
		{"server key", hex.EncodeToString(server.out.AppendKey(nil)), "9f02283b6c9c07efc26bb9f2ac92e356"},
		{"server iv", hex.EncodeToString(server.out.iv()), "cf782b88dd83549aadf1e984"},
	} {
		if c.got != c.want {
			t.Errorf("%s: got %s, want %s", c.name, c.got, c.want)
		}
	}
}

// TestSizes: what lies in every session's slab record.
func TestSizes(t *testing.T) {
	if got := unsafe.Sizeof(Half{}); got != 72 {
		t.Errorf("Half: got %d bytes, want 72", got)
	}
	if got := unsafe.Sizeof(Leg{}); got > 160 {
		t.Errorf("Leg: got %d bytes, want 160", got)
	}
}

// TestDeriveAllocates: a login takes over four directions; crypto/hmac would leave copies of their secrets on the heap.
func TestDeriveAllocates(t *testing.T) {
	for _, s := range suites[1:] {
		if s.version != version13 {
			continue
		}
		secret := bytes.Repeat([]byte{0xa7}, s.secretLen)
		if n := testing.AllocsPerRun(100, func() {
			h, err := NewHalf13(s.id, secret)
			if err != nil {
				t.Fatal(err)
			}
			h.update()
		}); n != 0 {
			t.Errorf("suite 0x%04x: %v allocations, want none", s.id, n)
		}
	}
}

// What a Half keeps of a traffic secret and what it derives on use are the same keys (RFC 8446 7.3), also of the next
// generation (7.2).
func TestKeysOfEverySecret(t *testing.T) {
	for _, s := range suites[1:] {
		if s.version != version13 {
			continue
		}
		secret := bytes.Repeat([]byte{0xa7}, s.secretLen)
		h, err := NewHalf13(s.id, secret)
		if err != nil {
			t.Fatal(err)
		}
		for generation := range 3 {
			label := func(name string, n int) []byte {
				info := append([]byte{0, byte(n), byte(len("tls13 ") + len(name))}, "tls13 "+name+"\x00"...)
				out, err := hkdf.Expand(s.hash, secret, string(info), n)
				if err != nil {
					t.Fatal(err)
				}
				return out
			}
			if got, want := h.AppendKey(nil), label("key", s.keyLen); !bytes.Equal(got, want) {
				t.Errorf("suite 0x%04x, generation %d: key %x, want %x", s.id, generation, got, want)
			}
			if got, want := h.AppendIV(nil), label("iv", nonceSize); !bytes.Equal(got, want) {
				t.Errorf("suite 0x%04x, generation %d: iv %x, want %x", s.id, generation, got, want)
			}
			secret = label("traffic upd", s.secretLen)
			h.update()
		}
	}
}

func TestSkipSealed(t *testing.T) {
	h := testHalf(t, version13, tls.TLS_AES_128_GCM_SHA256, 1)
	ours := sender{h: h}
	other := sender{h: testHalf(t, version13, tls.TLS_AES_128_GCM_SHA256, 2)}
	hello := plainRec(typeHandshake, version12, 2, 0, 0, 0)
	early := slices.Concat(hello, plainRec(20, version12, 1), other.data("certificate"), other.data("finished"))
	mine := times(3, func() []byte { return ours.rec(typeHandshake, ticket(40)...) })
	for _, c := range []struct {
		name    string
		flight  []byte
		records int
		ok      bool
	}{
		{"nothing", nil, 0, true},
		{"no ticket", early, 0, true},
		{"only tickets", mine, 3, true},
		{"tickets at the end", slices.Concat(early, mine), 3, true},
		{"a foreign record behind", slices.Concat(mine, other.data("x")), 0, false},
		{"a plain record behind", slices.Concat(mine, hello), 0, false},
		{"half a header", slices.Concat(mine, []byte{typeData, 3, 3}), 0, false},
		{"half a record", mine[:len(mine)-1], 0, false},
	} {
		got, before := h, bytes.Clone(c.flight)
		n, err := got.SkipSealed(c.flight)
		if n != c.records || got.Seq() != uint64(c.records) || (err == nil) != c.ok {
			t.Errorf("%s: got %d records, sequence number %d, %v, want %d", c.name, n, got.Seq(), err, c.records)
		}
		if !bytes.Equal(before, c.flight) {
			t.Errorf("%s: the flight was changed", c.name)
		}
	}
}

// TestNoTicket: crypto/tls sends none to a client that could not resume.
func TestNoTicket(t *testing.T) {
	c := tlsCase{version13, tls.TLS_AES_128_GCM_SHA256, AsServer}
	defer only13(c.suite)()
	a, b := newPipe()
	config := baseConfig(c)
	config.ClientSessionCache = nil
	failed := make(chan error, 1)
	go shake(tls.Client(b, config), failed) // ends with the handshake
	r := new(rig)
	r.shake(t, a, c)
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	_, out := r.halves(t, c)
	if n, err := out.SkipSealed(r.exact.written.Bytes()); n != 0 || err != nil {
		t.Errorf("got %d, %v, want 0", n, err)
	}
}

func TestRefusedKeys(t *testing.T) {
	secret := make([]byte, 64)
	half13, half12 := testHalf(t, version13, 0x1301, 1), testHalf(t, version12, 0xc02f, 1)
	for name, f := range map[string]func() error{
		"1.2 suite in 1.3":    func() error { _, err := NewHalf13(0xc02f, secret[:32]); return err },
		"1.3 suite in 1.2":    func() error { _, err := NewHalf12(0x1301, secret[:16], secret[:4], 0); return err },
		"CBC":                 func() error { _, err := NewHalf12(0xc013, secret[:16], secret[:4], 0); return err },
		"suite 0":             func() error { _, err := NewHalf13(0, secret[:32]); return err },
		"short secret":        func() error { _, err := NewHalf13(0x1302, secret[:32]); return err },
		"long secret":         func() error { _, err := NewHalf13(0x1301, secret[:48]); return err },
		"short key":           func() error { _, err := NewHalf12(0xc030, secret[:16], secret[:4], 0); return err },
		"long salt":           func() error { _, err := NewHalf12(0xc02f, secret[:16], secret[:12], 0); return err },
		"short master secret": func() error { _, _, err := NewHalves12(0xc02f, secret[:32], secret[:32], secret[:32]); return err },
		"short random":        func() error { _, _, err := NewHalves12(0xc02f, secret[:48], secret[:32], secret[:28]); return err },
		"master secret of 1.3": func() error {
			_, _, err := NewHalves12(0x1301, secret[:48], secret[:32], secret[:32])
			return err
		},
		"no role":         func() error { _, err := NewLeg(0, half13, half13); return err },
		"zero halves":     func() error { _, err := NewLeg(AsClient, Half{}, Half{}); return err },
		"mixed versions":  func() error { _, err := NewLeg(AsClient, half13, half12); return err },
		"count in 1.2":    func() error { _, err := half12.SkipSealed(nil); return err },
		"reseal nothing":  func() error { _, err := half13.ResealTicket(nil, nil); return err },
		"reseal too much": func() error { _, err := half13.ResealTicket(nil, make([]byte, maxPlain+1)); return err },
		"reseal in 1.2":   func() error { _, err := half12.ResealTicket(nil, secret); return err },
	} {
		if err := f(); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func TestSupports(t *testing.T) {
	for _, c := range []struct {
		version, suite uint16
		want           bool
	}{
		{tls.VersionTLS13, tls.TLS_CHACHA20_POLY1305_SHA256, true},
		{tls.VersionTLS12, tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, true},
		{tls.VersionTLS12, tls.TLS_RSA_WITH_AES_256_GCM_SHA384, true},
		{tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA, false},
		{tls.VersionTLS12, tls.TLS_AES_128_GCM_SHA256, false},
		{tls.VersionTLS11, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, false},
		{0, 0, false},
	} {
		if got := Supports(c.version, c.suite); got != c.want {
			t.Errorf("Supports(%04x, %04x): got %v", c.version, c.suite, got)
		}
	}
}

// TestEverySuite: all AEAD suites that crypto/tls knows are ours.
func TestEverySuite(t *testing.T) {
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		aead := strings.Contains(s.Name, "GCM") || strings.Contains(s.Name, "CHACHA20")
		for _, v := range s.SupportedVersions {
			if v >= tls.VersionTLS12 && Supports(v, s.ID) != aead {
				t.Errorf("%s in %04x: got %v, want %v", s.Name, v, !aead, aead)
			}
		}
	}
}

// TestPrinting: no verb shows a key.
func TestPrinting(t *testing.T) {
	secret := bytes.Repeat([]byte{0xa7}, 32)
	h, err := NewHalf13(tls.TLS_AES_128_GCM_SHA256, secret)
	if err != nil {
		t.Fatal(err)
	}
	leg, err := NewLeg(AsClient, h, h)
	if err != nil {
		t.Fatal(err)
	}
	var keys Keys
	if _, err := leg.Seal(&keys, nil, []byte("x")); err != nil {
		t.Fatal(err)
	}
	shown := []string{"a7 a7", "a7a7", "167 167", "0xa7", fmt.Sprint(h.AppendKey(nil)[:4]), fmt.Sprintf("%x", h.AppendKey(nil)[:4])}
	for _, v := range []any{h, &h, leg, &leg, keys, &keys} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
			text := fmt.Sprintf(verb, v)
			for _, s := range shown {
				if text == "" || strings.Contains(text, strings.Trim(s, "[]")) {
					t.Errorf("%s of %T shows %s", verb, v, text)
				}
			}
		}
	}
}

func TestWipe(t *testing.T) {
	leg := gcmLeg(t, version13)
	input := (&sender{h: leg.in}).data("x")
	h := leg.In()
	leg.Wipe()
	h.Wipe()
	if leg != (Leg{}) || h != (Half{}) {
		t.Error("keys are left")
	}
	if _, err := leg.Open(new(Keys), input); err != ErrDead {
		t.Errorf("Open: got %v, want ErrDead", err)
	}
	if out, err := leg.Seal(new(Keys), nil, []byte("x")); err != ErrDead || len(out) != 0 {
		t.Errorf("Seal: got %d bytes, %v, want ErrDead", len(out), err)
	}
	if out, err := leg.AppendClose(new(Keys), nil, nil); err != nil || len(out) != 0 {
		t.Errorf("AppendClose: got %d bytes, %v, want none", len(out), err)
	}
}

// TestSealSpare: the same records as Seal makes, and plain with what is behind it as before.
func TestSealSpare(t *testing.T) {
	for _, c := range allCases() {
		for _, n := range []int{0, 1, maxPlain - 1, maxPlain, maxPlain + 1, 3*maxPlain + 5} {
			one, two := testLeg(t, c.version, c.suite, c.role), testLeg(t, c.version, c.suite, c.role)
			want, err := one.Seal(new(Keys), nil, pattern(n))
			if err != nil {
				t.Fatal(err)
			}
			room := append(pattern(n), 0xa5, 0x5a)
			got, err := two.SealSpare(new(Keys), nil, room[:n])
			if err != nil || !bytes.Equal(got, want) || one != two {
				t.Errorf("%v, %d bytes: got other records or another state than Seal, %v", c, n, err)
			}
			if !bytes.Equal(room, append(pattern(n), 0xa5, 0x5a)) {
				t.Errorf("%v, %d bytes: what was sealed is not as before", c, n)
			}
			exact := slices.Clip(pattern(n))
			three := testLeg(t, c.version, c.suite, c.role)
			if got, err := three.SealSpare(new(Keys), nil, exact); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v, %d bytes without a spare one: %v", c, n, err)
			}
		}
	}
}

// TestRecordSizes: what a bulk transfer's records measure, and what a header says.
func TestRecordSizes(t *testing.T) {
	for _, c := range allCases() {
		leg := testLeg(t, c.version, c.suite, c.role)
		out, err := leg.Seal(new(Keys), nil, pattern(MaxPlain))
		if err != nil || len(out) != FullSize(c.version, c.suite) {
			t.Errorf("%v: a full record has %d bytes, FullSize says %d, %v", c, len(out), FullSize(c.version, c.suite), err)
		}
		if n, known := Size(out[:headerSize]); !known || n != len(out) {
			t.Errorf("%v: Size says %d, %v", c, n, known)
		}
		if _, known := Size(out[:headerSize-1]); known {
			t.Errorf("%v: Size knows half a header", c)
		}
	}
	if FullSize(version13, 0) != 0 {
		t.Error("a size for no suite")
	}
}
