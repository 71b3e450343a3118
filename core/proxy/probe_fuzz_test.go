package proxy

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailsplice/core/config"
	"mailsplice/protocols/dialog"
)

// recorded is a backend that says what it says, in pieces, whatever it hears, and then is silent.
type recorded struct {
	text  []byte
	piece int
	heard strings.Builder
}

func (r *recorded) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), r.piece)], r.text)
	r.text = r.text[n:]
	return n, nil
}

func (r *recorded) Write(p []byte) (int, error) { return r.heard.Write(p) }
func (r *recorded) SetDeadline(time.Time)       {}
func (r *recorded) FD() int                     { return -1 }

// hear runs a whole dialogue, and says what of the backend is shown.
func hear(s speech, r *recorded) (shown string, err error) {
	t := &talk{clear: r, name: "proxy.example.org", host: "backend.example.org", own: netip.MustParseAddrPort("[2001:db8::7]:4567"), peer: netip.MustParseAddrPort("192.0.2.1:25")}
	defer t.close()
	if err := s.greet(t); err != nil {
		return "", err
	}
	if err := s.capabilities(t); err != nil {
		return "", err
	}
	if err := s.startTLS(t); err != nil {
		return "", err
	}
	if err := s.secured(t); err != nil {
		return "", err
	}
	a, err := s.announce(t, &dialog.Forwarding{Client: t.own, Local: t.peer, Session: probeSession, TTL: 7})
	s.bye(t)
	return t.listing() + a.text + a.distrust, err
}

// Whatever a backend says: the probe ends, bounded, sends whole lines, shows no control character, and does not depend on
// how the bytes come.
func FuzzProbe(f *testing.F) {
	for protocol, text := range map[config.Protocol]string{
		config.IMAP:        "* OK hi\r\n* CAPABILITY IMAP4rev1 ID STARTTLS\r\np1 OK\r\np2 OK\r\n* ID {3}\r\nabc NIL\r\n* CAPABILITY ID\r\np1 OK\r\np3 OK Trusted ID completed.\r\n",
		config.POP3:        "+OK [XCLIENT] hi\r\n+OK\r\nSTLS\r\n.\r\n+OK\r\n+OK\r\nTOP\r\n.\r\n+OK\r\n",
		config.ManageSieve: "\"STARTTLS\"\r\n\"A\" {2}\r\nab\r\nOK\r\n\"STARTTLS\"\r\nOK {2}\r\nhi\r\nOK\r\n\"XCLIENT\"\r\n\"B\" \"c\"\r\nOK \"x\"\r\nOK\r\n",
		config.Submission:  "220 hi\r\n250-hi\r\n250 STARTTLS\r\n220 go\r\n250-hi\r\n250-AUTH PLAIN\r\n250 XCLIENT ADDR PORT HELO\r\n220-hi\r\n220 again\r\n250 hi\r\n",
		config.LMTP:        "220\r\n250-hi\r\n250 XCLIENT ADDR\r\n220 go\r\n250-hi\r\n250 XCLIENT ADDR\r\n550 no\r\n",
		config.HTTP:        "HTTP/1.1 200 OK\r\nServer: x\r\n\r\n",
	} {
		f.Add(uint8(protocol), []byte(text))
	}
	f.Fuzz(func(t *testing.T, protocol uint8, text []byte) {
		s := speeches[config.Protocol(protocol)]
		if s == nil {
			return
		}
		whole, bytewise := &recorded{text: text, piece: 1 << 20}, &recorded{text: text, piece: 1}
		shown, err := hear(s, whole)
		again, err2 := hear(s, bytewise)
		if shown != again || (err == nil) != (err2 == nil) || err != nil && err.Error() != err2.Error() {
			t.Errorf("whole: %q, %v\nbytewise: %q, %v", shown, err, again, err2)
		}
		said := whole.heard.String()
		if said != bytewise.heard.String() || said != "" && !strings.HasSuffix(said, "\r\n") {
			t.Errorf("sent %q, bytewise %q", said, bytewise.heard.String())
		}
		r := &report{failure: err}
		r.say("trust", "%s", shown)
		if strings.ContainsFunc(r.text(), func(c rune) bool { return c != '\n' && (c < ' ' || c == 0x7f || c > 0x7e && c < 0xa0) }) {
			t.Errorf("control characters in %q", r.text())
		}
	})
}
