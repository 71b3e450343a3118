package record

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// errNotAtEnd guards the count that SkipSealed makes: a wrong sequence number would make every record we seal a forgery.
var errNotAtEnd = errors.New("a record that is not ours behind one that is")

// SkipSealed finds out how many records of flight were sealed with h and moves h behind them. flight is what crypto/tls
// wrote at the end of a handshake, from a record boundary on: a TLS 1.3 server seals session tickets with its application
// key before the handshake returns, and how many is its own affair (DESIGN 3.4). Records before the first one that opens are
// of earlier keys; after it every one must open. flight is not changed. On an error h is not moved.
func (h *Half) SkipSealed(flight []byte) (records int, err error) {
	if h.Version() != version13 {
		return 0, fmt.Errorf("counting sealed records: found TLS version 0x%04x, allowed 0x%04x", h.Version(), version13)
	}
	moved := *h
	var x expanded
	defer x.drop()
	var scratch []byte
	for len(flight) > 0 {
		size, err := flightRecord(flight)
		if err != nil {
			return 0, fmt.Errorf("counting sealed records: %w", err)
		}
		scratch = append(scratch[:0], flight[:size]...)
		switch {
		case flight[0] == typeData && opens(&moved, &x, scratch):
			records++
		case records > 0:
			return 0, fmt.Errorf("counting sealed records: %w", errNotAtEnd)
		}
		flight = flight[size:]
	}
	*h = moved
	return records, nil
}

func opens(h *Half, x *expanded, rec []byte) bool {
	_, _, err := h.open(x, rec)
	return err == nil
}

// flightRecord returns the size of the first record of what we wrote ourselves.
func flightRecord(flight []byte) (int, error) {
	if len(flight) < headerSize {
		return 0, fmt.Errorf("a header of %d bytes", len(flight))
	}
	size := headerSize + int(binary.BigEndian.Uint16(flight[3:]))
	if len(flight) < size {
		return 0, fmt.Errorf("a record of %d bytes where %d are announced", len(flight), size)
	}
	return size, nil
}

// ResealTicket appends a handshake record of messages (Opened.Plain of kind Ticket) to dst, sealed with h as its next
// record, and returns dst. It exists to hand tickets to the tls.Conn that did the handshake and still counts its own
// records: h is then a copy of the leg's In from before the first Open. The result must stay in this process: the peer
// has used the same nonces.
func (h *Half) ResealTicket(dst, messages []byte) ([]byte, error) {
	if len(messages) == 0 || len(messages) > maxPlain || h.Version() != version13 {
		return dst, fmt.Errorf("sealing a ticket again: found %d bytes of %v, allowed 1 to %d of TLS 1.3", len(messages), h, maxPlain)
	}
	var x expanded
	defer x.drop()
	return h.seal(&x, dst, typeHandshake, messages)
}
