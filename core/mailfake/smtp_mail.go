package mailfake

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"strings"
)

func (m *smtpSession) mailFrom(args string) error {
	address, ok := path(args, "FROM:")
	switch {
	case !m.greeted || m.mail:
		return m.say("503 5.5.1 Not now")
	case m.b.o.Protocol == Submission && !m.loggedIn:
		return m.say("530 5.7.0 Authentication required")
	case !ok:
		return m.say("501 5.5.4 MAIL FROM:<address>")
	}
	m.mail, m.from = true, address
	return m.say("250 2.1.0 Sender noted")
}

func (m *smtpSession) rcptTo(args string) error {
	address, ok := path(args, "TO:")
	switch {
	case !m.mail:
		return m.say("503 5.5.1 MAIL first")
	case !ok || address == "":
		return m.say("501 5.5.4 RCPT TO:<address>")
	case len(m.to) >= maxRecipients:
		return m.say("452 4.5.3 Too many recipients")
	}
	m.to = append(m.to, address)
	return m.say("250 2.1.5 Recipient noted")
}

// data takes a message, keeps it, and says its checksum: once, or in LMTP once for each recipient (RFC 2033 4.2).
func (m *smtpSession) data(args string) error {
	switch {
	case args != "":
		return m.say("501 5.5.4 No parameters")
	case !m.mail || len(m.to) == 0:
		return m.say("503 5.5.1 MAIL and RCPT first")
	}
	if err := m.say("354 Go ahead"); err != nil {
		return err
	}
	raw, whole, err := m.body()
	if err != nil {
		return err
	}
	from, to := m.from, m.to
	m.reset()
	answers := 1
	if m.lmtp() {
		answers = len(to)
	}
	if !whole {
		return m.Write(strings.Repeat("552 5.3.4 Too large\r\n", answers))
	}
	sum := m.keep(from, to, raw)
	if answered, err := m.hook(OnMessage); answered || err != nil {
		return err
	}
	return m.Write(strings.Repeat("250 2.0.0 Taken by "+m.b.o.Name+" sha256="+sum+"\r\n", answers))
}

// keep remembers a message, whose bytes were set aside, and gives the checksum of its content.
func (m *smtpSession) keep(from string, to []string, raw []byte) string {
	msg := Message{Session: m.rec.Number, From: from, To: to, Raw: raw}
	if m.loggedIn {
		msg.Account = m.account()
	}
	sum := sha256.Sum256(msg.Content())
	msg.Sum = hex.EncodeToString(sum[:])
	m.b.update(func() {
		m.b.counts.Messages++
		m.b.messages = append(m.b.messages, msg)
	})
	return msg.Sum
}

// body reads up to CRLF, dot, CRLF and nothing else that looks like it (RFC 5321 4.1.1.4). The bytes are as they came.
// One that the store has no room for is read to its end and thrown away.
func (m *smtpSession) body() (raw []byte, whole bool, err error) {
	b := bodyReader{r: m.r, store: m.b.mail, lineStart: true, whole: m.b.mail.grow(messageOverhead)}
	if b.whole {
		b.held = messageOverhead
	}
	for !b.done && err == nil {
		if _, err = m.hook(OnData); err == nil {
			err = b.block()
		}
	}
	if err != nil || !b.whole {
		m.b.mail.release(b.held)
		return nil, false, err
	}
	return b.raw, true, nil
}

// bodyReader reads a message of DATA.
type bodyReader struct {
	r         *bufio.Reader
	store     *store
	raw       []byte
	held      int64 // set aside in store; behind raw by a block at most
	whole     bool  // all of it found room
	lineStart bool  // CRLF was last
	cr        bool  // CR was last
	done      bool
}

// block reads about bulkBlock bytes, or up to the end.
func (b *bodyReader) block() error {
	n := 0
	for n < bulkBlock && !b.done {
		part, err := b.r.ReadSlice('\n')
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
		if b.done = b.lineStart && string(part) == ".\r\n"; !b.done {
			b.add(part)
			n += len(part)
		}
	}
	b.settle(int64(n))
	return nil
}

// add keeps a piece, which ends in LF or fills the reader's buffer.
func (b *bodyReader) add(part []byte) {
	last := len(part) - 1
	if last > 0 {
		b.cr = part[last-1] == '\r'
	}
	b.lineStart = part[last] == '\n' && b.cr
	b.cr = part[last] == '\r'
	if b.whole {
		b.raw = append(b.raw, part...)
	}
}

// settle sets aside what a block has brought, or gives everything up.
func (b *bodyReader) settle(n int64) {
	switch {
	case !b.whole:
	case b.store.grow(n):
		b.held += n
	default:
		b.store.release(b.held)
		b.raw, b.held, b.whole = nil, 0, false
	}
}
