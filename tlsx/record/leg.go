package record

import (
	"fmt"
	"io"
)

// Role is the part that we play on a leg.
type Role uint8

// On the client leg of a session we are the server, on the backend leg the client.
const (
	AsServer Role = 1
	AsClient Role = 2
)

// Leg is both directions of a taken-over connection and the little that is remembered between records. It is plain data
// without pointers and may lie in a slab. It belongs to one goroutine. The zero Leg is dead.
type Leg struct {
	in, out  Half
	bodyLeft uint32  // bytes of the current handshake message still to come, once its head is whole
	credit   uint16  // what the peer may still spend on control records, in KiB moved; see doc.go
	tickets  uint16  // NewSessionTickets seen, saturating
	head     [4]byte // type and length of the current handshake message
	headLen  uint8   // bytes of head that have arrived, 0 between messages
	idle     uint8   // records in a row that carried nothing
	role     Role
	flags    uint8
}

// Flags of a Leg.
const (
	flagOwes      = 1 << iota // a KeyUpdate was requested and not yet answered
	flagInClosed              // the peer's close_notify was read
	flagOutClosed             // our close_notify or alert was sealed
	flagDead                  // Open has failed
)

// NewLeg joins two directions of one connection. They must be of one version and suite.
func NewLeg(role Role, in, out Half) (Leg, error) {
	if role != AsServer && role != AsClient {
		return Leg{}, fmt.Errorf("taking over a TLS connection: found role %d, allowed %d and %d", role, AsServer, AsClient)
	}
	if in.suite == 0 || in.suite != out.suite {
		return Leg{}, fmt.Errorf("taking over a TLS connection: found suites 0x%04x and 0x%04x, allowed one for both",
			in.Suite(), out.Suite())
	}
	return Leg{in: in, out: out, role: role, credit: creditFull}, nil
}

// Version returns the TLS version number, 0x0303 or 0x0304.
func (l *Leg) Version() uint16 { return l.in.Version() }

// Suite returns the number of the cipher suite.
func (l *Leg) Suite() uint16 { return l.in.Suite() }

// Cipher returns what the suite encrypts with.
func (l *Leg) Cipher() Cipher { return l.out.Cipher() }

// Overhead returns how many bytes a record without padding is longer than its content.
func (l *Leg) Overhead() int { return l.out.Overhead() }

// Role returns the part that we play.
func (l *Leg) Role() Role { return l.role }

// In returns a copy of the reading direction. To seal with it is only for Half.ResealTicket.
func (l *Leg) In() Half { return l.in }

// Out returns a copy of the writing direction, for the kernel to go on with or for tests. Whoever seals with the copy
// must never seal with the leg again.
func (l *Leg) Out() Half { return l.out }

// Tickets returns how many NewSessionTickets arrived, 65,535 at most.
func (l *Leg) Tickets() int { return int(l.tickets) }

// Owes reports that the peer has requested a KeyUpdate that is not sealed yet. The next Seal does it; a leg without data
// to send calls Seal with none as soon as its output has been flushed, and not earlier, so that a peer that does not
// read cannot make answers pile up.
func (l *Leg) Owes() bool { return l.flags&flagOwes != 0 && l.flags&flagOutClosed == 0 }

// InClosed reports that the peer has sent close_notify: no more will come.
func (l *Leg) InClosed() bool { return l.flags&flagInClosed != 0 }

// OutClosed reports that our close_notify or alert was sealed: nothing more may be sent.
func (l *Leg) OutClosed() bool { return l.flags&flagOutClosed != 0 }

// MidMessage reports that a handshake message is incomplete. A FIN now is a truncation even without close_notify.
func (l *Leg) MidMessage() bool { return l.headLen != 0 }

// Wipe zeroes the keys and leaves a dead leg.
func (l *Leg) Wipe() { *l = Leg{} }

// Format prints version, suite and sequence numbers, whatever the verb: the rest are keys.
func (l Leg) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, "leg(in "+l.in.describe()+", out "+l.out.describe()+")")
}

// MaxIdle is how many records in a row may carry nothing, as in crypto/tls.
const MaxIdle = 16

// Credit for control records, counted in KiB of application data moved (see doc.go).
const (
	costUpdate     = 64              // KiB a KeyUpdate costs: some microseconds of ours against 24 bytes of the peer's
	costRecord     = 8               // KiB any handshake record costs, a KeyUpdate's included in costUpdate
	creditFull     = 32 * costUpdate // at the start and at most
	kib            = 1 << 10
	maxTicketCount = 1<<16 - 1 // NewSessionTickets that are counted
)

// earn pays n bytes of application data in.
func (l *Leg) earn(n int) {
	l.credit = uint16(min(int(l.credit)+max(1, n/kib), creditFull))
}

// spend takes cost out and reports whether there was as much.
func (l *Leg) spend(cost uint16) bool {
	if l.credit < cost {
		return false
	}
	l.credit -= cost
	return true
}
