package tlsx

import (
	"crypto/tls"
	"errors"

	"mailsplice/tlsx/record"
)

// Tickets hands a backend's session tickets to the tls.Conn that did the handshake, which files them in the session cache
// (DESIGN 3.6). That object is some kilobytes: drop Tickets at the verdict. It belongs to the goroutine that drives the leg.
type Tickets struct {
	conn *tls.Conn
	wire *wire
	half record.Half // reading, as the tls.Conn counts it
}

// newTickets cuts conn off its socket: from here on it reads what it is fed and can write nothing.
func newTickets(conn *tls.Conn, w *wire, in record.Half) *Tickets {
	w.sock, w.slots, w.fed.on = nil, nil, true
	return &Tickets{conn: conn, wire: w, half: in}
}

// Offer takes the messages of a record that Leg.Open called a record.Ticket. They are sealed anew, because the tls.Conn
// sees neither what came between nor a change of keys. A ticket that crypto/tls does not like ends the collecting and
// nothing else. A nil *Tickets ignores it.
func (t *Tickets) Offer(messages []byte) {
	if t == nil || t.conn == nil {
		return
	}
	sealed, err := t.half.ResealTicket(nil, messages)
	if err == nil {
		t.wire.fed.pending = sealed
		_, err = t.conn.Read(make([]byte, 1))
	}
	if !errors.Is(err, errDry) {
		t.Drop()
	}
}

// Drop lets go of everything; Offer does nothing afterwards. A nil *Tickets is allowed.
func (t *Tickets) Drop() {
	if t != nil {
		t.half.Wipe()
		t.conn, t.wire = nil, nil
	}
}
