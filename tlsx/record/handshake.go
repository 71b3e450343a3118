package record

// Handshake messages that have a place, or a special answer, after the handshake (RFC 8446 4, RFC 5246 7.4).
const (
	msgHelloRequest = 0
	msgClientHello  = 1
	msgTicket       = 4
	msgKeyUpdate    = 24
)

// Body sizes in bytes of a NewSessionTicket (RFC 8446 4.6.1): lifetime 4, age 4, nonce 1 to 256, ticket 3 to 65,537,
// extensions 2 to 65,536.
const (
	minTicket = 4 + 4 + 1 + 3 + 2
	maxTicket = 4 + 4 + 256 + 65537 + 65536
	headSize  = 4 // message type and length
)

// refuse12 says why a TLS 1.2 handshake message ends the session: all of them do.
func (l *Leg) refuse12(plain []byte) error {
	if l.role == AsClient && plain[0] == msgHelloRequest || l.role == AsServer && plain[0] == msgClientHello {
		return errRenegotiate
	}
	return errMessageType
}

// takeHandshake acts on the messages, or the piece of one, in a TLS 1.3 handshake record that is not empty. What is
// returned as Plain is the part that belongs to tickets: a KeyUpdate can only come last.
func (l *Leg) takeHandshake(plain []byte) (Opened, error) {
	if !l.spend(costRecord) {
		return Opened{}, errCredit
	}
	off, tickets := 0, 0
	for off < len(plain) {
		typ := l.messageType(plain[off])
		n, err := l.takePiece(plain[off:])
		if err != nil {
			return Opened{}, err
		}
		off += n
		if typ == msgTicket {
			tickets = off
		}
	}
	if tickets == 0 {
		return Opened{Kind: Control}, nil
	}
	return Opened{Kind: Ticket, Plain: plain[:tickets]}, nil
}

// messageType returns the type of the message that next belongs to.
func (l *Leg) messageType(next byte) byte {
	if l.headLen > 0 {
		return l.head[0]
	}
	return next
}

// takePiece consumes the next bytes that belong together: one byte of a head, or what there is of a body.
func (l *Leg) takePiece(rest []byte) (n int, err error) {
	if l.headLen < headSize {
		l.head[l.headLen] = rest[0]
		l.headLen++
		return 1, l.checkHead()
	}
	if l.head[0] == msgKeyUpdate {
		if len(rest) != 1 {
			return 0, errUpdateInside
		}
		l.endMessage()
		return 1, l.takeUpdate(rest[0])
	}
	n = min(len(rest), int(l.bodyLeft))
	l.bodyLeft -= uint32(n)
	if l.bodyLeft == 0 {
		l.endMessage()
		l.tickets = min(l.tickets, maxTicketCount-1) + 1
	}
	return n, nil
}

// endMessage leaves no trace of the message that is over.
func (l *Leg) endMessage() {
	l.head, l.headLen, l.bodyLeft = [headSize]byte{}, 0, 0
}

// checkHead looks at the head as soon as there is something to see: the type in its first byte, the length in its last.
func (l *Leg) checkHead() error {
	typ := l.head[0]
	if typ != msgKeyUpdate && (typ != msgTicket || l.role != AsClient) {
		return errMessageType
	}
	if l.headLen < headSize {
		return nil
	}
	size := uint32(l.head[1])<<16 | uint32(l.head[2])<<8 | uint32(l.head[3])
	if typ == msgKeyUpdate && size != 1 || typ == msgTicket && (size < minTicket || size > maxTicket) {
		return errMessageSize
	}
	l.bodyLeft = size
	return nil
}

// takeUpdate goes on to the peer's next key and notes whether it wants ours to change too (RFC 8446 4.6.3).
func (l *Leg) takeUpdate(request byte) error {
	if request > 1 {
		return errUpdateValue
	}
	if !l.spend(costUpdate - costRecord) {
		return errCredit
	}
	l.in.update()
	if request == 1 {
		l.flags |= flagOwes
	}
	return nil
}
