package tlsx

import (
	"errors"
	"io"
	"net"
	"testing"
)

func TestCheckQuiet(t *testing.T) {
	tests := []struct {
		name       string
		unconsumed string
		peer       func(net.Conn)
		waiting    int // bytes that the case needs in the socket
		want       error
	}{
		{"quiet", "", func(net.Conn) {}, 0, nil},
		{"unconsumed", "X NOOP\r\n", func(net.Conn) {}, 0, ErrPipelined},
		{"in the socket", "", func(c net.Conn) { io.WriteString(c, "X") }, 1, ErrPipelined},
		{"a hello in the socket", "", func(c net.Conn) { c.Write([]byte{recordHandshake, 3, 1}) }, 3, ErrPipelined},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ours, peer := connect(t)
			tt.peer(peer)
			eventually(t, "the bytes arrive", func() bool { return queued(t, ours.fd) == tt.waiting })
			if err := CheckQuiet(ours.fd, []byte(tt.unconsumed)); !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if got := queued(t, ours.fd); got != tt.waiting {
				t.Errorf("got %d bytes left, want %d: looking took some", got, tt.waiting)
			}
		})
	}
}

func TestCheckQuietAtTheEnd(t *testing.T) {
	ours, peer := connect(t)
	peer.Close()
	eventually(t, "the end of input is seen", func() bool { return CheckQuiet(ours.fd, nil) != nil })
	if err := CheckQuiet(ours.fd, nil); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want an unexpected end", err)
	}
	if err := CheckQuiet(-1, nil); err == nil || errors.Is(err, ErrPipelined) {
		t.Errorf("bad descriptor: got %v", err)
	}
}

func TestFirstRecord(t *testing.T) {
	hello := "\x16\x03\x01\x00\x05hello"
	tests := []struct {
		name, sent string
		want       Arrival
	}{
		{"nothing", "", Partial},
		{"a byte", hello[:1], Partial},
		{"a header but for a byte", hello[:4], Partial},
		{"a header", hello[:5], Partial},
		{"all but a byte", hello[:9], Partial},
		{"all", hello, Whole},
		{"more", hello + hello, Whole},
		{"HTTP", "GET / HTTP/1.1\r\n", Alien},
		{"one letter", "G", Alien},
		{"a wrong version", "\x16\x02", Alien},
		{"an alert", "\x15\x03\x01\x00\x02", Alien},
		{"empty", "\x16\x03\x01\x00\x00", Alien},
		{"longest", "\x16\x03\x01\x40\x00", Partial},
		{"too long", "\x16\x03\x01\x40\x01", Alien},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ours, peer := connect(t)
			io.WriteString(peer, tt.sent)
			eventually(t, "the bytes arrive", func() bool { return queued(t, ours.fd) == len(tt.sent) })
			if got, err := FirstRecord(ours.fd); got != tt.want || err != nil {
				t.Errorf("got %v, %v, want %v", got, err, tt.want)
			}
			if got := queued(t, ours.fd); got != len(tt.sent) {
				t.Errorf("got %d bytes left, want %d", got, len(tt.sent))
			}
		})
	}
}

func TestFirstRecordAtTheEnd(t *testing.T) {
	ours, peer := connect(t)
	peer.Close()
	eventually(t, "the end of input is seen", func() bool { a, err := FirstRecord(ours.fd); return a == Ended && err == nil })
	if a, err := FirstRecord(-1); a != Ended || err == nil {
		t.Errorf("bad descriptor: got %v, %v", a, err)
	}
}
