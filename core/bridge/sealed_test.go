package bridge

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"mailsplice/core/engine"
	"mailsplice/tlsx/ktls"
	"mailsplice/tlsx/record"
)

// sealedPeer is a far end that words every record itself.
type sealedPeer struct {
	*peer
	t    *testing.T
	out  sealer
	far  record.Leg // opens what comes
	keys record.Keys
	in   []byte // ciphertext not opened yet
}

// sealer seals under TLS_AES_128_GCM_SHA256 by the words of RFC 8446 5.2 and 7.3, apart from package record.
type sealer struct {
	secret []byte
	seq    uint64
}

// expand is HKDF-Expand-Label with an empty context (RFC 8446 7.1).
func (s *sealer) expand(label string, n int) []byte {
	label = "tls13 " + label
	info := append([]byte{0, byte(n), byte(len(label))}, label...)
	out, err := hkdf.Expand(sha256.New, s.secret, string(append(info, 0)), n)
	if err != nil {
		panic(err)
	}
	return out
}

// record seals one record of a type.
func (s *sealer) record(typ byte, plain []byte) []byte {
	block, _ := aes.NewCipher(s.expand("key", 16))
	gcm, _ := cipher.NewGCM(block)
	nonce := s.expand("iv", 12)
	var seq [12]byte
	binary.BigEndian.PutUint64(seq[4:], s.seq)
	subtle.XORBytes(nonce, nonce, seq[:])
	s.seq++
	header := []byte{23, 3, 3, 0, 0}
	binary.BigEndian.PutUint16(header[3:], uint16(len(plain)+17))
	return gcm.Seal(header, nonce, append(bytes.Clone(plain), typ), bytes.Clone(header))
}

// Record types.
const (
	alertRecord     = 21
	handshakeRecord = 22
	dataRecord      = 23
)

// update seals a KeyUpdate, which asks for one back or not, and changes the key.
func (s *sealer) update(ask bool) []byte {
	message := []byte{24, 0, 0, 1, 0}
	if ask {
		message[4] = 1
	}
	rec := s.record(handshakeRecord, message)
	s.secret, s.seq = s.expand("traffic upd", 32), 0
	return rec
}

func (s *sealer) closeNotify() []byte { return s.record(alertRecord, []byte{1, 0}) }

// sealedPeer makes a client's or backend's leg of LaneRecord over a socket pair.
func (r *rig) sealedPeer(t *testing.T, leg int) *sealedPeer {
	t.Helper()
	var secrets [2][32]byte
	var halves [2]record.Half
	for i := range halves {
		rand.Read(secrets[i][:])
		var err error
		if halves[i], err = record.NewHalf13(tls.TLS_AES_128_GCM_SHA256, secrets[i][:]); err != nil {
			t.Fatal(err)
		}
	}
	ours, theirs := record.AsServer, record.AsClient
	if leg == backend {
		ours, theirs = theirs, ours
	}
	near, err := record.NewLeg(ours, halves[0], halves[1])
	if err != nil {
		t.Fatal(err)
	}
	base := r.unix
	if r.o.has(LaneKTLS) { // for which there must be TCP
		base = r.tcp
	}
	p := &sealedPeer{peer: base(), t: t, out: sealer{secret: secrets[0][:]}}
	p.tls = &near
	if p.far, err = record.NewLeg(theirs, halves[1], halves[0]); err != nil {
		t.Fatal(err)
	}
	return p
}

// joinSealed joins two sealed legs and has them say hello, so that the keys are in the kernel if the lane is that: it takes
// none of a connection that has begun to end.
func (r *rig) joinSealed(client, backend *sealedPeer) *peers {
	r.t.Helper()
	s := r.joinLegs(0, client.peer, backend.peer, Join{})
	client.send(client.seal("hello"))
	backend.want("hello")
	backend.send(backend.seal("hello yourself"))
	client.want("hello yourself")
	return s
}

// narrow makes the sockets of a far end's connection hold little.
func (p *sealedPeer) narrow() {
	if far, ok := p.below.(*net.TCPConn); ok {
		far.SetReadBuffer(16 << 10)
		unix.SetsockoptInt(p.near, unix.SOL_SOCKET, unix.SO_SNDBUF, 16<<10)
	}
}

// seal makes one record, or several of a long text.
func (p *sealedPeer) seal(text string) []byte {
	var out []byte
	for piece := range slices.Chunk([]byte(text), 16<<10) {
		out = append(out, p.out.record(dataRecord, piece)...)
	}
	return out
}

func (p *sealedPeer) send(raw []byte) {
	p.t.Helper()
	if _, err := p.below.Write(raw); err != nil {
		p.t.Fatal(err)
	}
}

// next opens one record; ok is false at FIN, which must not cut one.
func (p *sealedPeer) next() (got record.Opened, err error, ok bool) {
	p.t.Helper()
	for {
		got, err = p.far.Open(&p.keys, p.in)
		if err != nil || got.Kind != record.NeedMore {
			p.in = p.in[got.Consumed:]
			return got, err, true
		}
		buf := make([]byte, got.Need)
		p.below.SetReadDeadline(time.Now().Add(patience))
		n, err := p.below.Read(buf)
		if n == 0 {
			if len(p.in) > 0 || err != io.EOF {
				p.t.Fatalf("cut behind %d bytes of a record: %v", len(p.in), err)
			}
			return got, nil, false
		}
		p.in = append(p.in, buf[:n]...)
	}
}

// want reads application data.
func (p *sealedPeer) want(text string) {
	p.t.Helper()
	var all []byte
	for len(all) < len(text) {
		got, err, ok := p.next()
		if err != nil || !ok {
			p.t.Fatalf("got %s, then %v; want %s", brief(all), err, brief([]byte(text)))
		}
		if got.Kind == record.Data {
			all = append(all, got.Plain...)
		}
	}
	if string(all) != text {
		p.t.Fatalf("got %s, want %s", brief(all), brief([]byte(text)))
	}
}

// wantEnd wants close_notify, if clean, and FIN, and nothing else.
func (p *sealedPeer) wantEnd(clean bool) {
	p.t.Helper()
	if clean {
		if got, err, ok := p.next(); err != nil || !ok || got.Kind != record.Closed {
			p.t.Fatalf("got %v, %v, %v; want close_notify", got.Kind, err, ok)
		}
		if n, err := p.below.Read(make([]byte, 1)); n != 0 || err != io.EOF {
			p.t.Fatalf("behind close_notify: got %d bytes, %v; want FIN", n, err)
		}
		return
	}
	if got, err, ok := p.next(); ok {
		p.t.Fatalf("got %v, %v; want FIN without a word", got.Kind, err)
	}
}

// TestSmallRecordsLeaveFull: what one read brought goes out as one record, however it came.
func TestSmallRecordsLeaveFull(t *testing.T) {
	r := newRig(t, rigOptions{})
	c, b := r.sealedPeer(t, client), r.sealedPeer(t, backend)
	s := r.joinLegs(0, c.peer, b.peer, Join{})
	var raw []byte
	text := randomText(1000)
	for _, piece := range bytes.SplitAfter([]byte(text), []byte{7}) {
		raw = append(raw, c.seal(string(piece))...)
	}
	c.send(raw)
	got, err, _ := b.next()
	if err != nil || string(got.Plain) != text {
		t.Errorf("first record: got %s, %v; want all %d bytes", brief(got.Plain), err, len(text))
	}
	if n, _ := s.count(); n.ToBackend != 1000 {
		t.Errorf("counted %d bytes, want those of the plaintext", n.ToBackend)
	}
}

// TestJoinWithRaw: what was read before the join and not opened comes behind the tail, whole records, partial ones, and
// the rest of those from the socket.
func TestJoinWithRaw(t *testing.T) {
	for _, cut := range []int{0, 1, 30, 31, 60} {
		t.Run(strconv.Itoa(cut), func(t *testing.T) {
			r := newRig(t, rigOptions{})
			c, b := r.sealedPeer(t, client), r.unix()
			raw := append(c.seal("first "), c.seal("second ")...)
			raw = append(raw, c.seal("third")...)
			r.joinRaw(0, c.peer, b, Join{ToBackend: []byte("tail ")}, raw[:cut])
			c.send(raw[cut:])
			wantNext(t, b, "tail first second third")
		})
	}
}

// joinRaw is joinLegs with unopened input of the client.
func (r *rig) joinRaw(loop int, c, b *peer, j Join, raw []byte) *peers {
	leg := c.leg()
	leg.Raw = raw
	return r.joinAs(loop, c, b, leg, b.leg(), j)
}

// TestFINWithoutCloseNotify: it ends its direction only, is reported, and does not become close_notify on the other leg.
func TestFINWithoutCloseNotify(t *testing.T) {
	for _, first := range []int{client, backend} {
		for _, partial := range []bool{false, true} {
			t.Run(fmt.Sprint(legNames[first], " ", partial), func(t *testing.T) {
				overSealed(t, func(t *testing.T, r *rig) { finWithoutCloseNotify(t, r, first, partial) })
			})
		}
	}
}

func finWithoutCloseNotify(t *testing.T, r *rig, first int, partial bool) {
	legs := [2]*sealedPeer{r.sealedPeer(t, client), r.sealedPeer(t, backend)}
	s := r.joinSealed(legs[client], legs[backend])
	cut, other := legs[first], legs[1-first]
	cut.send(cut.seal("whole"))
	if partial {
		rec := cut.seal("never seen")
		cut.send(rec[:len(rec)-1])
	}
	cut.cut()
	other.want("whole")
	other.wantEnd(false)
	other.send(other.seal("still heard"))
	cut.want("still heard")
	other.send(other.out.closeNotify())
	other.cut()
	cut.wantEnd(true)
	want := [2]Reason{ClientClosed, BackendClosed}[first]
	if rep := r.waitEnd(s.tag, want); !rep.Unclean[first] || rep.Unclean[1-first] {
		t.Errorf("report: got %+v, want an unclean end of leg %d alone", rep, first)
	}
}

// TestViolation: the alert goes to who has earned it, the other leg gets what was authenticated before, and no end that
// looks complete.
func TestViolation(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(rec []byte)
		want  record.Alert
	}{
		"forged":        {func(p []byte) { p[len(p)-1]++ }, record.BadRecordMAC},
		"too long":      {func(p []byte) { p[3], p[4] = 0xff, 0xff }, record.RecordOverflow},
		"wrong version": {func(p []byte) { p[1]++ }, record.ProtocolVersion},
	} {
		for _, bad := range []int{client, backend} {
			t.Run(name+" "+legNames[bad], func(t *testing.T) {
				overSealed(t, func(t *testing.T, r *rig) { violation(t, r, bad, c.spoil, c.want) })
			})
		}
	}
}

func violation(t *testing.T, r *rig, bad int, spoil func([]byte), want record.Alert) {
	legs := [2]*sealedPeer{r.sealedPeer(t, client), r.sealedPeer(t, backend)}
	s := r.joinSealed(legs[client], legs[backend])
	good, rec := legs[bad].seal("good"), legs[bad].seal("spoilt")
	spoil(rec)
	legs[bad].send(append(good, rec...))
	legs[1-bad].want("good")
	legs[1-bad].wantEnd(false)
	legs[bad].wantAlert(want)
	if rep := r.waitEnd(s.tag, [2]Reason{ClientTLS, BackendTLS}[bad]); !rep.Unclean[bad] {
		t.Errorf("report: got %+v", rep)
	}
}

// wantAlert wants a fatal alert next.
func (p *sealedPeer) wantAlert(want record.Alert) {
	p.t.Helper()
	got, err, _ := p.next()
	var alert record.PeerAlert
	if !errors.As(err, &alert) || record.Alert(alert) != want {
		p.t.Errorf("got %v, %v; want the alert %v", got.Kind, err, want)
	}
}

// TestPeerAlert: a fatal alert is acted on, not answered and not passed on.
func TestPeerAlert(t *testing.T) {
	for _, bad := range []int{client, backend} {
		t.Run(legNames[bad], func(t *testing.T) {
			overSealed(t, func(t *testing.T, r *rig) {
				legs := [2]*sealedPeer{r.sealedPeer(t, client), r.sealedPeer(t, backend)}
				s := r.joinSealed(legs[client], legs[backend])
				legs[bad].send(legs[bad].seal("before"))
				legs[1-bad].want("before")
				legs[bad].send(legs[bad].out.record(alertRecord, []byte{2, byte(record.DecodeError)}))
				legs[1-bad].wantEnd(false)
				legs[bad].wantEnd(false)
				r.waitEnd(s.tag, [2]Reason{ClientTLS, BackendTLS}[bad])
			})
		})
	}
}

// TestKeyUpdateIsAnswered: at once on a leg that reads, and once only, behind its stash, on one that does not.
func TestKeyUpdateIsAnswered(t *testing.T) {
	overSealed(t, func(t *testing.T, r *rig) {
		if r.rekeys() {
			keyUpdateIsAnswered(t, r)
		} else {
			keyUpdateIsRefused(t, r)
		}
	})
}

// rekeys tells whether sessions can change keys: not with them in a kernel that takes no second one.
func (r *rig) rekeys() bool {
	return !r.o.has(LaneKTLS) || kernel().Rekeys(ktls.TX) && kernel().Rekeys(ktls.RX)
}

// keyUpdateIsRefused: what the kernel cannot follow ends the session in words of TLS, behind what came before it.
func keyUpdateIsRefused(t *testing.T, r *rig) {
	for _, ask := range []bool{true, false} {
		c, b := r.sealedPeer(t, client), r.sealedPeer(t, backend)
		s := r.joinSealed(c, b)
		c.send(slices.Concat(c.seal("before"), c.out.update(ask), c.seal("never seen")))
		b.want("before")
		b.wantEnd(false)
		c.wantAlert(record.InternalError)
		r.waitEnd(s.tag, ClientTLS)
	}
}

func keyUpdateIsAnswered(t *testing.T, r *rig) {
	c, b := r.sealedPeer(t, client), r.sealedPeer(t, backend)
	c.narrow()
	s := r.joinSealed(c, b)
	c.send(c.out.update(true))
	if got, err, ok := c.next(); err != nil || !ok || got.Kind != record.Control {
		t.Fatalf("got %v, %v; want the answer", got.Kind, err)
	}
	c.send(c.seal("under the new key"))
	b.want("under the new key")
	b.send(b.seal("and back"))
	c.want("and back")

	text := randomText(int(min(bulkBytes(8<<20), 8<<20))) // more than the sockets take
	sent := make(chan struct{})
	go func() { defer close(sent); b.below.Write(b.seal(text)) }() // ends when c reads
	r.eventually("stash for the client", func() (there bool) {     // not one of a record that is not whole
		r.on(0, func(bridge *Bridge) { x, _ := bridge.find(s.id); there = x.legs[client].stash != 0 })
		return there
	})
	for range 5 {
		c.send(c.out.update(true))
	}
	c.send(c.seal("x"))
	b.want("x") // all five were read
	updates, all := 0, 0
	for all < len(text) {
		got, err, ok := c.next()
		if err != nil || !ok {
			t.Fatal(err, ok)
		}
		if got.Kind == record.Control {
			updates++
		}
		all += len(got.Plain)
	}
	<-sent
	if updates != 1 {
		t.Errorf("answers to five requests: got %d, want 1", updates)
	}
	s.kick(t)
	c.wantEnd(true)
}

// TestKickSaysGoodbye: close_notify and FIN on both legs.
func TestKickSaysGoodbye(t *testing.T) {
	overLanes(t, func(t *testing.T, o rigOptions) {
		r := newRig(t, o)
		s := r.join(0)
		exchange(t, s.client, s.backend, "hello")
		s.kick(t)
		wantRest(t, s.client, "")
		wantRest(t, s.backend, "")
		r.waitEnd(s.tag, Kicked)
	})
}

// TestKickBehindAStash: what the backend has not taken is dropped, and then nothing more can be said to it.
func TestKickBehindAStash(t *testing.T) { overSealed(t, kickBehindAStash) }

func kickBehindAStash(t *testing.T, r *rig) {
	c, b := r.unix(), r.sealedPeer(t, backend)
	s := r.joinLegs(0, c, b.peer, Join{})
	flooded := make(chan struct{})
	go flood(c, 64<<10, flooded) // ends when the session does
	r.eventually("stash", func() bool { return r.stash.InUse() > 0 })
	s.kick(t)
	r.waitEnd(s.tag, Kicked)
	rest, err := io.ReadAll(b.below)
	if err != nil {
		t.Fatal(err)
	}
	for {
		got, err := b.far.Open(&b.keys, rest)
		if err != nil {
			t.Fatalf("behind the gap came what does not authenticate: %v", err)
		}
		if got.Kind == record.NeedMore {
			break
		}
		if got.Kind != record.Data {
			t.Fatalf("got %v, want data only", got.Kind)
		}
		rest = rest[got.Consumed:]
	}
	c.Close()
	<-flooded
}

// TestEndWaitsForTheStashInTLS: close_notify, like FIN, comes behind all that the client had not taken.
func TestEndWaitsForTheStashInTLS(t *testing.T) { overSealed(t, endWaitsForTheStashInTLS) }

func endWaitsForTheStashInTLS(t *testing.T, r *rig) {
	c, b := r.sealedPeer(t, client), r.unix()
	c.narrow()
	s := r.joinLegs(0, c.peer, b, Join{})
	text := randomText(int(min(bulkBytes(8<<20), 8<<20)))
	sent := make(chan struct{})
	go func() { defer close(sent); io.WriteString(b, text); b.closeWrite() }() // ends when c reads
	r.eventually("stash", func() bool { return r.stash.InUse() > 0 })
	c.want(text)
	<-sent
	c.wantEnd(true)
	c.send(c.out.closeNotify())
	c.below.Close()
	wantRest(t, b, "")
	r.waitEnd(s.tag, BackendClosed)
}

// TestMoveAmidARecord: half a record and half a KeyUpdate travel with the session, and the keys that they change.
func TestMoveAmidARecord(t *testing.T) { overSealed(t, moveAmidARecord) }

func moveAmidARecord(t *testing.T, r *rig) {
	c, b := r.sealedPeer(t, client), r.sealedPeer(t, backend)
	s := r.joinSealed(c, b)
	for round := range 3 {
		raw := c.seal("before ")
		if r.rekeys() {
			raw = append(raw, c.out.update(round == 1)...)
		}
		raw = append(raw, c.seal("after")...)
		for i := range raw {
			c.send(raw[i : i+1])
			if i%5 == 0 {
				s.mustMove(t)
			}
		}
		b.want("before after")
		b.send(b.seal("back"))
		c.want("back")
	}
}

// TestImportOfBadKeys: nothing is joined on a TLS state that is none.
func TestImportOfBadKeys(t *testing.T) {
	r := newRig(t, rigOptions{})
	c, b := r.sealedPeer(t, client), r.unix()
	s := r.joinLegs(0, c.peer, b, Join{})
	var p *Parcel
	var err error
	r.on(0, func(b *Bridge) { p, err = b.Export(s.id) })
	if err != nil {
		t.Fatal(err)
	}
	m, err := decode(p.State)
	if err != nil {
		t.Fatal(err)
	}
	good := bytes.Clone(m.legs[client].keys)
	for name, keys := range map[string][]byte{"none": nil, "short": good[:len(good)-1], "other version": append([]byte{99}, good[1:]...)} {
		bad := m
		bad.legs[client].keys = keys
		t.Run(name, func(t *testing.T) {
			r.checkRefused(t, &Parcel{Client: p.Client, Backend: p.Backend, State: bad.encode()})
		})
	}
	r.on(0, func(b *Bridge) {
		if s.id, err = b.Import(p, s.tag); err != nil {
			t.Error(err)
		}
		if got := b.sealed.Len(); got != 1 {
			t.Errorf("sealed legs: got %d, want 1", got)
		}
	})
	c.send(c.seal("still there"))
	wantNext(t, b, "still there")
}

// TestKeyringIsShared: more legs than slots take turns and stay apart.
func TestKeyringIsShared(t *testing.T) {
	r := newRig(t, rigOptions{})
	const slots = 16
	r.on(0, func(b *Bridge) { b.keys.slots = b.keys.slots[:slots] })
	var all []*sealedPeer
	var far []*peer
	for range slots + 20 {
		c, b := r.sealedPeer(t, client), r.unix()
		r.joinLegs(0, c.peer, b, Join{})
		all, far = append(all, c), append(far, b)
	}
	for round := range 2 {
		for i, c := range all {
			text := string(rune('a'+round)) + randomText(i + 1)[:min(i+1, 50)]
			c.send(c.seal(text))
			wantNext(t, far[i], text)
		}
	}
}

// TestKeyringRests: keys that nobody uses for two rounds are dropped, and made again when they are needed.
func TestKeyringRests(t *testing.T) {
	r := newRig(t, rigOptions{})
	c, b := r.sealedPeer(t, client), r.unix()
	r.joinLegs(0, c.peer, b, Join{})
	kept := func(b *Bridge) (n int) {
		for _, s := range b.keys.slots {
			if s.keys != nil {
				n++
			}
		}
		return n
	}
	for _, text := range []string{"busy", "again"} {
		c.send(c.seal(text))
		wantNext(t, b, text)
		r.on(0, func(b *Bridge) {
			if kept(b) != 1 || b.keys.timer == 0 {
				t.Errorf("%s: got %d keys, timer %d; want one and a timer", text, kept(b), b.keys.timer)
			}
			if next := b.keys.Due(b.keys.token); next <= b.loop.Now() || kept(b) != 1 {
				t.Errorf("%s, first round: got %d keys, next round at %d", text, kept(b), next)
			}
			b.loop.Disarm(b.keys.timer)
			if next := b.keys.Due(b.keys.token); next != 0 || kept(b) != 0 || b.keys.timer != 0 {
				t.Errorf("%s, second round: got %d keys, next round at %d", text, kept(b), next)
			}
		})
	}
}

// TestWipedAtTheEnd: no key outlives its session in the slab.
func TestWipedAtTheEnd(t *testing.T) { overSealed(t, wipedAtTheEnd) }

func wipedAtTheEnd(t *testing.T, r *rig) {
	c, b := r.sealedPeer(t, client), r.unix()
	s := r.joinLegs(0, c.peer, b, Join{})
	c.send(c.seal("x"))
	wantNext(t, b, "x")
	var left *record.Leg
	r.on(0, func(b *Bridge) {
		x, _ := b.find(s.id)
		left = b.tlsOf(&x.legs[client])
		if left.Version() == 0 {
			t.Error("no keys to begin with")
		}
	})
	s.kick(t)
	r.on(0, func(*Bridge) {
		if *left != (record.Leg{}) {
			t.Errorf("left behind: %v", *left)
		}
	})
	if *c.tls != (record.Leg{}) {
		t.Error("Join left the keys where they came from")
	}
}

// TestWholeRawIsServedWithoutAnEvent: records that were read before the join do not wait for more input.
func TestWholeRawIsServedWithoutAnEvent(t *testing.T) {
	r := newRig(t, rigOptions{})
	c, b := r.sealedPeer(t, client), r.unix()
	raw := c.seal("all there is")
	r.joinRaw(1, c.peer, b, Join{}, raw)
	wantNext(t, b, "all there is")
}

func TestJoinErrorsOfTLS(t *testing.T) {
	cases := map[string]func(*Leg){
		"no keys":      func(l *Leg) { l.TLS = nil },
		"dead leg":     func(l *Leg) { l.TLS.Wipe() },
		"too much raw": func(l *Leg) { l.Raw = make([]byte, record.MaxRecord+1) },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{})
			c, p := r.sealedPeer(t, client), r.unix()
			leg := c.leg()
			spoil(&leg)
			r.on(0, func(b *Bridge) {
				watchAll(b.loop, c.near, p.near)
				if id, err := b.Join(Join{Client: leg, Backend: p.leg()}); err == nil {
					t.Errorf("got %#x, want an error", id)
				}
				if b.Len() != 0 || b.sealed.Len() != 0 {
					t.Errorf("%d sessions, %d sealed legs", b.Len(), b.sealed.Len())
				}
			})
			c.below.Close()
			p.Close()
		})
	}
}

// BenchmarkBulkSealed is bulk through TLS on both legs, far ends included in the CPU time.
func BenchmarkBulkSealed(b *testing.B) {
	r := newRig(b, rigOptions{lanes: [2]Lane{LaneRecord, LaneRecord}})
	s := r.join(0)
	flooded := make(chan struct{})
	go flood(s.backend, 256<<10, flooded) // ends when the leg is closed below
	buf := make([]byte, 256<<10)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	for b.Loop() {
		io.ReadFull(s.client, buf)
	}
	s.client.below.Close()
	s.backend.below.Close()
	<-flooded
}

// relayRecord lends f a function that moves one full record from one socket pair to another by a direct call of the
// handler: open, seal and two system calls.
func relayRecord(t testing.TB, bytes int, f func(move func())) {
	r := newRig(t, rigOptions{lanes: [2]Lane{LaneRecord, LaneRecord}})
	s := r.join(0)
	text := make([]byte, bytes)
	s.onRawLegs(func(b *Bridge, w *watcher, far [2]int) {
		x, _ := b.find(s.id)
		leg := b.tlsOf(&x.legs[client]) // a copy seals what the leg opens: both ends of a direction have the same keys
		sender, err := record.NewLeg(record.AsClient, leg.Out(), leg.In())
		if err != nil {
			t.Error(err)
			return
		}
		var keys record.Keys
		rec := make([]byte, 0, record.SealedSize(bytes))
		f(func() {
			if rec, err = sender.Seal(&keys, rec[:0], text); err != nil {
				t.Error(err)
			}
			unix.Write(far[client], rec)
			w.Ready(b.token(s.id, client), engine.Readable)
			if n, err := unix.Read(far[backend], rec[:cap(rec)]); n < bytes {
				t.Errorf("got %d bytes, %v; want a record of %d", n, err, bytes)
			}
		})
	})
}

func TestRelayRecordAllocatesNothing(t *testing.T) {
	relayRecord(t, 16<<10, func(move func()) {
		if got := testing.AllocsPerRun(300, move); got != 0 {
			t.Errorf("allocations per record: got %v, want 0", got)
		}
	})
}

func BenchmarkRelayRecord(b *testing.B) {
	for _, size := range []int{20, 16 << 10} {
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			relayRecord(b, size, func(move func()) {
				for b.Loop() {
					move()
				}
			})
		})
	}
}
