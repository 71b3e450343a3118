package proxy

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/xclient"
)

// smtpSpeech is submission, SMTP and LMTP (RFC 5321, 2033, 3207).
type smtpSpeech struct {
	verb      string // EHLO or LHLO
	tellHello bool   // HELO and PROTO belong to the announcement: not in pass-through (SPEC 3.5)
}

// smtpReply reads an answer of one or more lines and wants its code; 0: any.
func smtpReply(t *talk, want int) (code int, lines []string, err error) {
	for {
		line, err := t.line()
		if err != nil {
			return 0, nil, err
		}
		if len(line) < 3 || len(line) > 3 && line[3] != '-' && line[3] != ' ' {
			return 0, nil, unexpected(line)
		}
		if code, err = strconv.Atoi(line[:3]); err != nil || want != 0 && code != want {
			return 0, nil, unexpected(line)
		}
		if len(line) == 3 {
			return code, append(lines, ""), nil
		}
		if lines = append(lines, line[4:]); line[3] == ' ' {
			return code, lines, nil
		}
	}
}

func (smtpSpeech) greet(t *talk) error {
	_, _, err := smtpReply(t, 220)
	return err
}

func (s smtpSpeech) capabilities(t *talk) error {
	t.offers, t.startTLS, t.xclient, t.list = nil, false, false, ""
	if err := t.say(s.verb + " " + t.hello()); err != nil {
		return err
	}
	_, lines, err := smtpReply(t, 250)
	if err != nil {
		return fmt.Errorf("%s: %w", s.verb, err)
	}
	t.offers = lines[1:]
	for _, l := range t.offers {
		switch name, rest := word(l); name {
		case "STARTTLS":
			t.startTLS = true
		case "XCLIENT":
			t.xclient, t.list = true, rest
		}
	}
	return nil
}

func (smtpSpeech) startTLS(t *talk) error {
	if err := t.say("STARTTLS"); err != nil {
		return err
	}
	_, _, err := smtpReply(t, 220)
	return err
}

func (s smtpSpeech) secured(t *talk) error { return s.capabilities(t) }

// announce sends XCLIENT and greets again, since that resets the backend (SPEC 5.2).
func (s smtpSpeech) announce(t *talk, f *dialog.Forwarding) (trust, error) {
	offer := xclient.ParseOffer([]byte(t.list))
	switch {
	case !t.xclient:
		return distrusts("it does not offer XCLIENT"), nil
	case !offer.Addr():
		return distrusts("its XCLIENT takes no ADDR"), nil
	}
	c := xclient.Client{Forwarding: f}
	if s.tellHello {
		c.Hello, c.Proto = t.hello(), "ESMTP"
	}
	for _, line := range xclient.Commands(offer, c) {
		if err := t.write(line); err != nil {
			return trust{}, err
		}
		code, lines, err := smtpReply(t, 0)
		if err != nil {
			return trust{}, err
		}
		if code/100 != 2 {
			return distrusts(fmt.Sprintf("to XCLIENT it says %q", fmt.Sprintf("%d %s", code, strings.Join(lines, " / ")))), nil
		}
	}
	return trusted, s.capabilities(t)
}

func (smtpSpeech) bye(t *talk) { _ = t.say("QUIT") }

// httpSpeech asks for the head of the root. Any answer that is HTTP will do: what is there is not a probe's business.
type httpSpeech struct{}

func (httpSpeech) greet(*talk) error { return nil } // the client speaks first

func (httpSpeech) capabilities(t *talk) error {
	err := t.say("HEAD / HTTP/1.1\r\nHost: " + bracketed(t.host) + "\r\nConnection: close\r\n")
	if err != nil {
		return err
	}
	status, err := t.line()
	if err == nil && !strings.HasPrefix(status, "HTTP/1.") {
		err = unexpected(status)
	}
	t.offers = []string{status}
	for line := status; err == nil && line != ""; line, err = t.line() {
		if name, _, _ := strings.Cut(line, ":"); strings.EqualFold(name, "Server") {
			t.offers = append(t.offers, line)
		}
	}
	return err
}

func (httpSpeech) startTLS(*talk) error { return errors.New("there is none in HTTP") }

func (httpSpeech) secured(*talk) error { return nil }

func (httpSpeech) announce(*talk, *dialog.Forwarding) (trust, error) { return notAsked, nil }

func (httpSpeech) bye(*talk) {}
