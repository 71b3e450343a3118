package bridge

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"mailsplice/tlsx/ktls"
	"mailsplice/tlsx/record"
	"mailsplice/tlsx/tlstest"
)

// ticketMessage is a NewSessionTicket of a server that sends one (RFC 8446 4.6.1): lifetime, age, nonce, ticket, extensions.
var ticketMessage = slices.Concat([]byte{4, 0, 0, 4 + 4 + 2 + 2 + 32 + 2, 0, 0, 1, 0, 0, 0, 0, 0, 1, 7, 0, 32}, make([]byte, 32), []byte{0, 0})

// TestControlAmidAStream: records that carry no data stand between those that do, and neither data nor order is lost.
func TestControlAmidAStream(t *testing.T) {
	kinds := map[string]func(p *sealedPeer) []byte{
		"empty record":         func(p *sealedPeer) []byte { return p.out.record(dataRecord, nil) },
		"user_canceled":        func(p *sealedPeer) []byte { return p.out.record(alertRecord, []byte{1, 90}) },
		"KeyUpdate":            func(p *sealedPeer) []byte { return p.out.update(false) },
		"KeyUpdate, requested": func(p *sealedPeer) []byte { return p.out.update(true) },
		"ticket":               func(p *sealedPeer) []byte { return p.out.record(handshakeRecord, ticketMessage) },
		"half a ticket": func(p *sealedPeer) []byte {
			return append(p.out.record(handshakeRecord, ticketMessage[:9]), p.out.record(handshakeRecord, ticketMessage[9:])...)
		},
	}
	for name, control := range kinds {
		for _, from := range []int{client, backend} {
			if strings.Contains(name, "ticket") && from == client { // only servers send them
				continue
			}
			t.Run(name+" "+legNames[from], func(t *testing.T) {
				overSealed(t, func(t *testing.T, r *rig) {
					if r.rekeys() || !strings.HasPrefix(name, "KeyUpdate") { // else see keyUpdateIsRefused
						controlAmidAStream(t, r, from, control)
					} else {
						exchangeSome(t, r)
					}
				})
			})
		}
	}
}

// exchangeSome is a session without more than data.
func exchangeSome(t *testing.T, r *rig) {
	s := r.join(0)
	exchange(t, s.client, s.backend, "hello")
}

func controlAmidAStream(t *testing.T, r *rig, from int, control func(*sealedPeer) []byte) {
	legs := [2]*sealedPeer{r.sealedPeer(t, client), r.sealedPeer(t, backend)}
	s := r.joinSealed(legs[client], legs[backend])
	a, b := legs[from], legs[1-from]
	var raw []byte
	var all string
	for i := range 6 {
		text := randomText(3000 + i)
		raw, all = slices.Concat(raw, a.seal(text), control(a)), all+text
	}
	raw = append(raw, a.out.closeNotify()...)
	sent := make(chan struct{})
	go func() { defer close(sent); a.below.Write(raw); a.cut() }() // ends when all is read
	b.want(all)
	b.wantEnd(true)
	<-sent
	b.send(append(b.seal("still heard"), b.out.closeNotify()...))
	b.cut()
	a.want("still heard")
	a.wantEnd(true)
	if rep := r.waitEnd(s.tag, [2]Reason{ClientClosed, BackendClosed}[from]); rep.Unclean != [2]bool{} {
		t.Errorf("report: got %+v, want clean ends", rep)
	}
}

// TestHollowRecordsEndTheSession: records without content are work for nothing, also where the kernel reads over them (SECURITY 26).
func TestHollowRecordsEndTheSession(t *testing.T) {
	overSealed(t, func(t *testing.T, r *rig) {
		c, b := r.sealedPeer(t, client), r.sealedPeer(t, backend)
		s := r.joinSealed(c, b)
		hollow := func(n int) (raw []byte) {
			for range n {
				raw = append(raw, c.out.record(dataRecord, nil)...)
			}
			return raw
		}
		for range 40 { // few at a time are none of it
			c.send(append(hollow(record.MaxIdle), c.seal("x")...))
			b.want("x")
		}
		c.send(hollow(2 * (record.MaxIdle + 1)))
		r.waitEnd(s.tag, ClientTLS)
	})
}

// TestKickDeliversInTLS: what is stashed for the client is delivered, then close_notify and FIN, however slow it reads.
func TestKickDeliversInTLS(t *testing.T) {
	overSealed(t, func(t *testing.T, r *rig) {
		c, b := r.sealedPeer(t, client), r.unix()
		c.narrow()
		s := r.joinLegs(0, c.peer, b, Join{})
		flooded := make(chan struct{})
		go flood(b, 64<<10, flooded) // ends when the session does
		r.eventually("stash", func() bool { return r.stash.InUse() > 0 })
		s.kick(t)
		rep := r.waitEnd(s.tag, Kicked)
		c.want(string(make([]byte, rep.ToClient)))
		c.wantEnd(true)
		<-flooded
	})
}

// TestFINWaitsForTheKernel: a slow client gets every byte and a whole end although we have nothing left of it: the kernel has,
// and SHUT_WR would cut off what it has not given to TCP (DESIGN 4: truncated downloads).
func TestFINWaitsForTheKernel(t *testing.T) {
	for name, end := range map[string]func(s *peers){
		"backend ends": func(s *peers) { s.backend.closeWrite() },
		"kick":         func(s *peers) { s.r.on(0, func(b *Bridge) { b.Kick(s.id) }) },
	} {
		t.Run(name, func(t *testing.T) {
			overSealed(t, func(t *testing.T, r *rig) {
				most := r.mostTaken(t)
				for n := most - 28<<10; n <= most; n += 4 << 10 {
					slowAtTheEnd(t, r, n, end)
				}
			})
		})
	}
}

// mostTaken is how much the socket of a narrow leg takes before there is a stash.
func (r *rig) mostTaken(t *testing.T) int {
	c, b := r.sealedPeer(t, client), r.unix()
	c.narrow()
	s := r.joinLegs(0, c.peer, b, Join{})
	total := 0
	for r.stash.InUse() == 0 {
		total += 4 << 10
		io.WriteString(b, randomText(4<<10))
		r.eventually("all moved", func() bool { m, _ := s.count(); return m.ToClient == uint64(total) })
	}
	c.below.Close()
	b.Close()
	<-r.ended // which of the two was noticed first does not matter
	return total - 4<<10
}

func slowAtTheEnd(t *testing.T, r *rig, n int, end func(s *peers)) {
	c, b := r.sealedPeer(t, client), r.unix()
	c.narrow()
	s := r.joinLegs(0, c.peer, b, Join{})
	text := randomText(n)
	io.WriteString(b, text)
	r.eventually("all moved", func() bool { m, _ := s.count(); return m.ToClient == uint64(n) })
	end(s)
	r.eventually("the end", func() bool { return s.isHalved() || len(r.ended) > 0 })
	if far, ok := c.below.(*net.TCPConn); ok {
		far.SetReadBuffer(1 << 20) // so that TCP is in no doubt whether to send what fits
	}
	c.want(text)
	c.wantEnd(true)
	c.below.Close()
	b.Close()
	<-r.ended
}

// TestSuites: every version and cipher of which the keys can be taken over, with crypto/tls at both far ends.
func TestSuites(t *testing.T) {
	for _, suite := range tlstest.Suites {
		t.Run(suite.String(), func(t *testing.T) {
			lanes := []Lane{LaneRecord}
			if inKernelOnly(t) {
				lanes = append(lanes, LaneKTLS)
			}
			for _, lane := range lanes {
				t.Run(lane.String(), func(t *testing.T) {
					conversation(t, newRig(t, rigOptions{lanes: [2]Lane{lane, lane}, suite: suite}))
				})
			}
		})
	}
}

func conversation(t *testing.T, r *rig) {
	s := r.join(0)
	for _, n := range []int{1, 16 << 10, 300000} {
		transfer(t, s.client, s.backend, randomText(n))
		transfer(t, s.backend, s.client, randomText(n))
	}
	s.mustMove(t)
	transfer(t, s.client, s.backend, "after a move")
	s.client.closeWrite()
	wantRest(t, s.backend, "")
	transfer(t, s.backend, s.client, randomText(50000))
	s.backend.closeWrite()
	wantRest(t, s.client, "")
	if rep := r.waitEnd(s.tag, ClientClosed); rep.Unclean != [2]bool{} {
		t.Errorf("report: got %+v, want clean ends", rep)
	}
}

// transfer is exchange for a text that may be more than the sockets take.
func transfer(t *testing.T, from, to net.Conn, text string) {
	t.Helper()
	sent := make(chan error, 1)
	go func() { _, err := io.WriteString(from, text); sent <- err }() // ends when all is read
	wantNext(t, to, text)
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
}

// process is the far end of a leg that another program has.
type process struct{ net.Conn }

// Close does nothing: the test's end kills the program.
func (process) Close() error { return nil }

// TestOpenSSL: OpenSSL as the client, and as the backend, of a session whose other far end is crypto/tls.
func TestOpenSSL(t *testing.T) {
	for _, suite := range tlstest.Suites {
		for _, leg := range []int{client, backend} {
			t.Run(fmt.Sprint(suite, " ", legNames[leg]), func(t *testing.T) {
				overSealed(t, func(t *testing.T, r *rig) { withOpenSSL(t, r, suite, leg) })
			})
		}
	}
}

func withOpenSSL(t *testing.T, r *rig, suite tlstest.Suite, leg int) {
	conn, keys, openssl := suite.OpenSSLPeer(t, ourRoles[leg])
	far := [2]*peer{}
	far[leg] = &peer{Conn: process{}, near: steal(t, conn), tls: keys}
	far[1-leg] = r.dial(LaneRecord, 1-leg)
	s := r.joinLegs(0, far[client], far[backend], Join{})
	other := far[1-leg]
	for i := range 3 {
		line := fmt.Sprintf("line %d there\n", i)
		openssl.Say(line)
		wantNext(t, other, line)
		io.WriteString(other, fmt.Sprintf("line %d back\n", i))
		openssl.Until(fmt.Sprintf("line %d back", i))
	}
	long := strings.Repeat(strings.Repeat("x", 99)+"\n", 2000)
	sent := make(chan struct{})
	go func() { defer close(sent); io.WriteString(other, long+"that was it\n") }() // ends when openssl has read it
	openssl.Until("that was it")
	<-sent
	if suite.Version == version13 && r.rekeys() {
		for _, command := range []string{"k", "K"} { // a new key of its own, and one of ours as well
			before := s.keyOf(leg)
			openssl.Say(command + "\n")
			r.eventually("a new key", func() bool { return s.keyOf(leg) != before })
			openssl.Say("after " + command + "\n")
			wantNext(t, other, "after "+command+"\n")
			io.WriteString(other, "answer to "+command+"\n")
			openssl.Until("answer to " + command)
		}
	}
	if leg == client {
		openssl.Say("Q\n")
		wantRest(t, other, "")
		other.closeWrite()
		r.waitEnd(s.tag, ClientClosed)
		return
	}
	other.closeWrite() // s_server says close_notify only as an answer
	openssl.Until("CONNECTION CLOSED")
	r.waitEnd(s.tag, ClientClosed)
}

// keyOf is what a leg opens the next record with, but for its number.
func (s *peers) keyOf(leg int) (key string) {
	s.r.on(s.loop, func(b *Bridge) {
		if x, ok := b.find(s.id); ok {
			h := b.tlsOf(&x.legs[leg]).In()
			key = string(h.AppendKey(nil))
		}
	})
	return key
}

// TestKernelTakesOver: keys go in when a direction has moved enough, not before, one direction alone, and between two
// records; nothing is lost while that happens.
func TestKernelTakesOver(t *testing.T) {
	if !inKernelOnly(t) {
		return
	}
	r := newRig(t, rigOptions{lanes: [2]Lane{LaneKTLS, LaneKTLS}})
	for _, b := range r.bridges {
		b.kernelAfter = 100000
	}
	s := r.join(0)
	flags := func() (f [2]flag) {
		r.on(0, func(b *Bridge) {
			if x, ok := b.find(s.id); ok {
				f = [2]flag{x.legs[client].flags, x.legs[backend].flags}
			}
		})
		return f
	}
	transfer(t, s.backend, s.client, randomText(90000))
	if f := flags(); (f[client]|f[backend])&(inKernel|outKernel) != 0 || s.lane() != LaneRecord {
		t.Errorf("after 90,000 bytes: got flags %#x, lane %v", f, s.lane())
	}
	for i := range 8 {
		transfer(t, s.backend, s.client, randomText(30000+i))
	}
	if f := flags(); f[client]&(inKernel|outKernel) != outKernel || f[backend]&(inKernel|outKernel) != inKernel || s.lane() != LaneKTLS {
		t.Errorf("after a download: got flags %#x, lane %v", f, s.lane())
	}
	for i := range 8 {
		transfer(t, s.client, s.backend, randomText(30000+i))
	}
	if f := flags(); f[client]&f[backend]&inKernel == 0 || f[client]&f[backend]&outKernel == 0 {
		t.Errorf("after both: got flags %#x", f)
	}
}

// TestNotForThisKernel: what the kernel cannot, or may not, stays in user space and is not asked for again and again.
func TestNotForThisKernel(t *testing.T) {
	for name, s := range map[string]*ktls.Support{"nothing": nil, "none of the keys": refusing()} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, rigOptions{lanes: [2]Lane{LaneRecord, LaneRecord}})
			for _, b := range r.bridges {
				b.kernelAfter, b.o.Kernel = 0, s
			}
			p := r.join(0)
			transfer(t, p.client, p.backend, randomText(200000))
			r.on(0, func(b *Bridge) {
				if x, _ := b.find(p.id); x.legs[client].flags&stays == 0 || x.lane() != LaneRecord {
					t.Errorf("got flags %#x, lane %v", x.legs[client].flags, x.lane())
				}
			})
		})
	}
}

// refusing is a Support that promises what the kernel does not keep, where there is such a kernel.
func refusing() *ktls.Support {
	if kernel() != nil {
		return nil
	}
	return new(ktls.Support)
}
