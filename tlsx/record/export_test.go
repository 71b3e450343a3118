package record

import (
	"bytes"
	"slices"
	"testing"
)

// exportable is a leg in each state that may have to be exported.
func exportable(t testing.TB) map[string]Leg {
	t.Helper()
	legs := map[string]Leg{}
	for _, c := range allCases() {
		legs[c.String()] = testLeg(t, c.version, c.suite, c.role)
	}
	for name, send := range map[string]func(s *sender) []byte{
		"half a head":     func(s *sender) []byte { return s.rec(typeHandshake, msgTicket, 0) },
		"inside a ticket": func(s *sender) []byte { return s.rec(typeHandshake, ticket(500)[:99]...) },
		"before the body": func(s *sender) []byte { return s.rec(typeHandshake, keyUpdate[:4]...) },
		"behind a ticket": func(s *sender) []byte { return s.rec(typeHandshake, ticket(500)...) },
		"owing":           func(s *sender) []byte { return slices.Concat(s.data("x"), s.update(1), s.data("y")) },
		"idle":            func(s *sender) []byte { return times(16, func() []byte { return s.rec(typeAlert, 1, 90) }) },
		"read end":        func(s *sender) []byte { return s.rec(typeAlert, 1, 0) },
	} {
		leg := gcmLeg(t, version13)
		drain(t, &leg, new(Keys), send(&sender{h: leg.in}))
		legs[name] = leg
	}
	for _, version := range []uint16{version12, version13} {
		leg := gcmLeg(t, version)
		if _, err := leg.AppendClose(new(Keys), nil, nil); err != nil {
			t.Fatal(err)
		}
		legs["written end"+string(rune('0'+version&7))] = leg
	}
	full := gcmLeg(t, version13)
	full.out.seq, full.tickets, full.credit = limitGCM, maxTicketCount, 0
	legs["at the limits"] = full
	return legs
}

func TestExportImport(t *testing.T) {
	for name, leg := range exportable(t) {
		b := leg.Export([]byte("before"))
		got, err := Import(b[len("before"):])
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got != leg {
			t.Errorf("%s: got another leg", name)
		}
	}
}

// TestGoOnAfterImport: crypto/tls does not notice that its peer has moved, in the middle of a KeyUpdate either.
func TestGoOnAfterImport(t *testing.T) {
	for _, c := range allCases() {
		r := newRig(t, c)
		for i := range 5 {
			if c.version == version13 {
				r.leg.flags |= flagOwes
			}
			moved, err := Import(r.leg.Export(nil))
			if err != nil {
				t.Fatalf("%v: %v", c, err)
			}
			r.leg.Wipe()
			r.leg, r.keys = moved, Keys{}
			out, err := r.leg.Seal(&r.keys, nil, pattern(20_000+i))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = r.wire.Write(out)
			if got := readPeer(t, r.peer, 20_000+i); !bytes.Equal(got, pattern(20_000+i)) {
				t.Fatalf("%v: crypto/tls read other bytes", c)
			}
			if _, err := r.peer.Write(pattern(30_000)); err != nil {
				t.Fatal(err)
			}
			if got, _ := drain(t, &r.leg, &r.keys, r.wire.take()); !bytes.Equal(got, pattern(30_000)) {
				t.Fatalf("%v: got other bytes", c)
			}
		}
	}
}

// TestDeadIsNotExported: neither by Export nor by a forged export.
func TestDeadIsNotExported(t *testing.T) {
	leg := gcmLeg(t, version13)
	if _, err := leg.Open(new(Keys), flip((&sender{h: leg.in}).data("x"), -1)); err == nil {
		t.Fatal("got no error")
	}
	zero := Leg{}
	if got := append(leg.Export(nil), zero.Export(nil)...); len(got) != 0 {
		t.Errorf("got %d bytes, want none", len(got))
	}
}

// TestImportIsStrict: each change of one field that no leg can have is refused.
func TestImportIsStrict(t *testing.T) {
	legs := exportable(t)
	leg := func(name string) []byte {
		l := legs[name]
		return l.Export(nil)
	}
	client, server := leg("TLS_AES_128_GCM_SHA256/client"), leg("TLS_AES_128_GCM_SHA256/server")
	old := leg("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256/client")
	set := func(b []byte, offset int, values ...byte) []byte {
		b = bytes.Clone(b)
		copy(b[offset:], values)
		return b
	}
	for name, b := range map[string][]byte{
		"empty":                   nil,
		"head cut":                client[:exportHead-1],
		"keys cut":                client[:len(client)-1],
		"a byte too many":         append(bytes.Clone(client), 0),
		"version 0":               set(client, 0, 0),
		"version 2":               set(client, 0, 2),
		"role 0":                  set(client, 1, 0),
		"role 3":                  set(client, 1, 3),
		"dead":                    set(client, 2, flagDead),
		"unknown flag":            set(client, 2, 0x80),
		"idle 17":                 set(client, 3, 17),
		"head of 5":               set(client, 4, 5, msgTicket, 0, 0, 99),
		"head without length":     set(client, 4, 0, msgTicket),
		"head of a Finished":      set(client, 4, 1, 20),
		"ticket at a server":      set(server, 4, 1, msgTicket),
		"KeyUpdate of 2":          set(client, 4, 4, msgKeyUpdate, 0, 0, 2, 0, 0, 0, 1),
		"body without head":       set(client, 9, 0, 0, 0, 1),
		"body of nothing":         set(leg("inside a ticket"), 9, 0, 0, 0, 0),
		"body longer than said":   set(leg("inside a ticket"), 9, 0, 0, 2, 0),
		"message after the end":   set(leg("half a head"), 2, flagInClosed),
		"credit over the top":     set(client, 13, 0x08, 0x01),
		"tickets at a server":     set(server, 15, 0, 1),
		"tickets in 1.2":          set(old, 15, 0, 1),
		"owing in 1.2":            set(old, 2, flagOwes),
		"message in 1.2":          set(old, 4, 1, msgTicket),
		"credit spent in 1.2":     set(old, 13, 0, 1),
		"unknown suite":           set(client, 19, 0, 0),
		"suite of another length": set(client, 19, 0x13, 0x02),
		"1.3 suite in 1.2":        set(client, 17, 3, 3),
		"sealed over the limit":   set(client, exportHead+8+32+3, 0, 1, 0, 0, 2),
	} {
		if got, err := Import(b); err == nil || got != (Leg{}) {
			t.Errorf("%s: got no error", name)
		}
	}
}

func FuzzImport(f *testing.F) {
	for _, leg := range exportable(f) {
		f.Add(leg.Export(nil), []byte{typeData, 3, 3, 0, 20, 1, 2, 3})
	}
	f.Fuzz(func(t *testing.T, b, input []byte) {
		leg, err := Import(b)
		if err != nil {
			if leg != (Leg{}) {
				t.Error("an error and a leg")
			}
			return
		}
		if got := leg.Export(nil); !bytes.Equal(got, b) {
			t.Errorf("exported again: got %x, want %x", got, b)
		}
		peer, keys := peerOf(&leg), new(Keys)
		_, _ = openAll(&leg, keys, input)
		out, err := leg.Seal(keys, nil, []byte("x"))
		if err != nil {
			return
		}
		if data, _ := drain(t, &peer, new(Keys), out); string(data) != "x" {
			t.Errorf("sealed after import: got %q", data)
		}
	})
}
