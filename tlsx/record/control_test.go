package record

import (
	"bytes"
	"slices"
	"testing"
)

// TestSplitMessages: the same messages in every grouping of bytes into records that is legal.
func TestSplitMessages(t *testing.T) {
	messages := slices.Concat(ticket(minTicket), ticket(300), keyUpdate[:])
	tickets := len(messages) - len(keyUpdate)
	for size := 1; size <= len(messages); size++ {
		leg := gcmLeg(t, version13)
		leg.credit = creditFull
		s := sender{h: leg.in}
		var keys Keys
		var seen []byte
		for rest := messages; len(rest) > 0; {
			n := min(size, len(rest))
			got, err := leg.Open(&keys, s.rec(typeHandshake, rest[:n]...))
			if err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
			if (len(got.Plain) > 0) != (got.Kind == Ticket) {
				t.Fatalf("pieces of %d: got kind %d with %d bytes", size, got.Kind, len(got.Plain))
			}
			seen = append(seen, got.Plain...)
			rest = rest[n:]
			if leg.MidMessage() != (len(rest) > 0 && !betweenMessages(len(messages)-len(rest))) {
				t.Fatalf("pieces of %d: MidMessage is %v with %d bytes to come", size, leg.MidMessage(), len(rest))
			}
			leg.credit = creditFull // small pieces are not what is tested here
		}
		s.h.update()
		data, _ := drain(t, &leg, &keys, s.data("new key"))
		if !bytes.Equal(seen, messages[:tickets]) || leg.Tickets() != 2 || string(data) != "new key" || leg.Owes() {
			t.Errorf("pieces of %d: got %d ticket bytes, %d tickets, %q, owes %v", size, len(seen), leg.Tickets(), data, leg.Owes())
		}
	}
}

// betweenMessages knows where the messages of TestSplitMessages end.
func betweenMessages(offset int) bool {
	first := headSize + minTicket
	return offset == first || offset == first+headSize+300
}

// TestLongestTicket: counted off over its records, nothing of it is kept.
func TestLongestTicket(t *testing.T) {
	leg := gcmLeg(t, version13)
	s := sender{h: leg.in}
	var input []byte
	for piece := range slices.Chunk(ticket(maxTicket), maxPlain) {
		input = append(input, s.rec(typeHandshake, piece...)...)
	}
	data, _ := drain(t, &leg, new(Keys), append(input, s.data("behind")...))
	if string(data) != "behind" || leg.Tickets() != 1 {
		t.Errorf("got %q, %d tickets, want what is behind 1", data, leg.Tickets())
	}
}

// TestOneAnswer: requests that come before an answer was sealed share it, and it stands in front of the next data.
func TestOneAnswer(t *testing.T) {
	for _, c := range []struct {
		name string
		data string
		want []Kind
	}{
		{"alone", "", []Kind{Control}},
		{"before data", "x", []Kind{Control, Data}},
	} {
		leg := gcmLeg(t, version13)
		peer := peerOf(&leg)
		s := sender{h: leg.in}
		var keys Keys
		drain(t, &leg, &keys, slices.Concat(s.update(1), s.update(0), s.update(1)))
		if !leg.Owes() {
			t.Fatalf("%s: a requested KeyUpdate is not owed", c.name)
		}
		out, err := leg.Seal(&keys, nil, []byte(c.data))
		if err != nil {
			t.Fatal(err)
		}
		data, kinds := drain(t, &peer, new(Keys), out)
		if string(data) != c.data || !slices.Equal(kinds, c.want) || leg.Owes() || peer.Owes() {
			t.Errorf("%s: got %q in %v, still owed %v, asked back %v, want %v", c.name, data, kinds, leg.Owes(), peer.Owes(), c.want)
		}
		if out, err := leg.Seal(&keys, nil, nil); len(out) != 0 || err != nil {
			t.Errorf("%s: a second answer of %d bytes, %v", c.name, len(out), err)
		}
	}
}

// TestNothingOwedAfterClose: an answer that cannot be sent any more is not waited for.
func TestNothingOwedAfterClose(t *testing.T) {
	leg := gcmLeg(t, version13)
	s := sender{h: leg.in}
	var keys Keys
	if _, err := leg.AppendClose(&keys, nil, nil); err != nil {
		t.Fatal(err)
	}
	if data, _ := drain(t, &leg, &keys, append(s.update(1), s.data("x")...)); string(data) != "x" || leg.Owes() {
		t.Errorf("got %q, owes %v, want x, false", data, leg.Owes())
	}
}

// TestCredit: 32 KeyUpdates at once, then one for every 64 KiB in either direction, a small record counting as 1 KiB.
func TestCredit(t *testing.T) {
	for _, c := range []struct {
		name   string
		earn   func(s *sender, l *Leg)
		enough bool
	}{
		{"nothing", func(*sender, *Leg) {}, false},
		{"63 small records", func(s *sender, l *Leg) { drain(t, l, new(Keys), times(63, func() []byte { return s.data("x") })) }, false},
		{"64 small records", func(s *sender, l *Leg) { drain(t, l, new(Keys), times(64, func() []byte { return s.data("x") })) }, true},
		{"4 full records", func(s *sender, l *Leg) {
			drain(t, l, new(Keys), times(4, func() []byte { return s.rec(typeData, pattern(maxPlain)...) }))
		}, true},
		{"63 KiB sealed", func(_ *sender, l *Leg) { _, _ = l.Seal(new(Keys), nil, pattern(63*kib)) }, false},
		{"64 KiB sealed", func(_ *sender, l *Leg) { _, _ = l.Seal(new(Keys), nil, pattern(64*kib)) }, true},
	} {
		leg := gcmLeg(t, version13)
		s := sender{h: leg.in}
		drain(t, &leg, new(Keys), times(32, func() []byte { return s.update(0) }))
		c.earn(&s, &leg)
		if _, err := leg.Open(new(Keys), s.update(0)); (err == nil) != c.enough {
			t.Errorf("%s: got %v, want enough: %v", c.name, err, c.enough)
		}
	}
}

// TestCreditIsCapped: a gigabyte does not pay for more than 32 KeyUpdates in a row.
func TestCreditIsCapped(t *testing.T) {
	leg := gcmLeg(t, version13)
	leg.earn(1 << 30)
	leg.earn(1 << 30)
	if leg.credit != creditFull {
		t.Errorf("got %d, want %d", leg.credit, creditFull)
	}
}

// TestForeignKeys: expanded keys of another leg are never used, in either direction.
func TestForeignKeys(t *testing.T) {
	one := gcmLeg(t, version13)
	two := peerOf(&one) // same keys, other directions
	var keys Keys
	for range 3 {
		for _, l := range []*Leg{&one, &two} {
			peer := peerOf(l)
			out, err := l.Seal(&keys, nil, []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			if data, _ := drain(t, &peer, &keys, out); string(data) != "x" {
				t.Fatalf("got %q", data)
			}
			l.out.seq, l.in.seq = 0, 0
		}
	}
}

// TestDroppedKeys: Keys may go at any moment.
func TestDroppedKeys(t *testing.T) {
	for _, c := range allCases() {
		leg := testLeg(t, c.version, c.suite, c.role)
		peer := peerOf(&leg)
		var keys Keys
		for range 3 {
			out, err := leg.Seal(&keys, nil, []byte("x"))
			if err != nil {
				t.Fatal(err)
			}
			keys.Drop()
			if data, _ := drain(t, &peer, &keys, out); string(data) != "x" {
				t.Errorf("%v: got %q", c, data)
			}
			if keys == (Keys{}) {
				t.Errorf("%v: nothing was kept", c)
			}
			keys.Drop()
			if keys != (Keys{}) {
				t.Errorf("%v: something was kept", c)
			}
		}
	}
}
