package proxy

import (
	"strconv"
	"strings"

	"mailsplice/core/config"
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/xclient"
)

// speech is the little of a protocol that a probe speaks: all of it comes before a login, which a probe does not have.
// The machines of protocols/* exist to replay one.
type speech interface {
	greet(*talk) error
	capabilities(*talk) error // fills in what talk knows of the backend
	startTLS(*talk) error     // up to the go-ahead
	secured(*talk) error      // the capabilities inside TLS
	announce(*talk, *dialog.Forwarding) (trust, error)
	bye(*talk) // a courtesy; nobody waits for the answer
}

// trust is what a backend makes of our word about a client.
type trust struct {
	text     string // in words
	distrust string // why not; empty: it does, or does not tell
}

var speeches = map[config.Protocol]speech{
	config.IMAP: imapSpeech{}, config.POP3: popSpeech{}, config.ManageSieve: sieveSpeech{}, config.HTTP: httpSpeech{},
	config.Submission: smtpSpeech{verb: "EHLO", tellHello: true}, config.SMTP: smtpSpeech{verb: "EHLO"}, config.LMTP: smtpSpeech{verb: "LHLO"},
}

// The answers to announce.
var (
	trusted  = trust{text: "it takes our word about clients"}
	notAsked = trust{text: "not asked: it sees the proxy's address only"}
)

func distrusts(why string) trust { return trust{distrust: why} }

// popSpeech is POP3 (RFC 1939, 2449, 2595).
type popSpeech struct{}

func (popSpeech) greet(t *talk) error {
	line, err := popLine(t)
	if err == nil {
		t.xclient = strings.Contains(strings.ToUpper(line), "[XCLIENT]") // shown here alone (SPEC 5.2)
	}
	return err
}

// popLine wants +OK.
func popLine(t *talk) (string, error) {
	line, err := t.line()
	if status, _ := word(line); err == nil && status != "+OK" {
		err = unexpected(line)
	}
	return line, err
}

func (popSpeech) capabilities(t *talk) error {
	t.offers, t.startTLS = nil, false
	if err := t.say("CAPA"); err != nil {
		return err
	}
	line, err := t.line()
	switch status, _ := word(line); {
	case err == nil && status != "+OK" && t.proxied:
		return unexpected(line) // the answer may be to the PROXY header
	case err != nil || status != "+OK":
		return err // without CAPA (RFC 1939) it offers nothing
	}
	for {
		line, err := t.line()
		if err != nil || line == "." {
			return err
		}
		name, _ := word(line)
		t.offers, t.startTLS = append(t.offers, line), t.startTLS || name == "STLS"
	}
}

func (popSpeech) startTLS(t *talk) error {
	if err := t.say("STLS"); err != nil {
		return err
	}
	_, err := popLine(t)
	return err
}

func (p popSpeech) secured(t *talk) error { return p.capabilities(t) }

func (popSpeech) announce(t *talk, f *dialog.Forwarding) (trust, error) {
	if !t.xclient {
		return distrusts("its greeting does not offer XCLIENT"), nil
	}
	if err := t.write(xclient.Line(f)); err != nil {
		return trust{}, err
	}
	line, err := t.line()
	if status, _ := word(line); err == nil && status != "+OK" {
		return distrusts("to XCLIENT it says " + strconv.Quote(line)), nil
	}
	return trusted, err
}

func (popSpeech) bye(t *talk) { _ = t.say("QUIT") }

// sieveSpeech is ManageSieve (RFC 5804).
type sieveSpeech struct{}

// greet reads the capabilities: the greeting is nothing else.
func (sieveSpeech) greet(t *talk) error { return sieveBlock(t) }

// capabilities asks for them all the same: a backend that has answered a PROXY header as if it were commands is found out.
func (sieveSpeech) capabilities(t *talk) error {
	if err := t.say("CAPABILITY"); err != nil {
		return err
	}
	return sieveBlock(t)
}

// sieveBlock reads capabilities up to OK.
func sieveBlock(t *talk) error {
	t.offers, t.startTLS, t.xclient = nil, false, false
	for {
		line, err := t.line()
		if err != nil {
			return err
		}
		if !strings.HasPrefix(line, `"`) && !strings.HasPrefix(line, "{") {
			return sieveStatus(t, line)
		}
		name, value, err := sieveLine(t, line)
		if err != nil {
			return err
		}
		t.offers = append(t.offers, strings.TrimSpace(name+" "+value))
		t.startTLS = t.startTLS || strings.EqualFold(name, "STARTTLS")
		t.xclient = t.xclient || strings.EqualFold(name, "XCLIENT")
	}
}

// sieveLine reads a name and a value. A value that is a literal is passed over.
func sieveLine(t *talk, line string) (name, value string, err error) {
	if name, line, err = unquoted(line); err != nil || line == "" {
		return name, "", err
	}
	size, found, err := literalOf(line)
	if found && err == nil {
		if err = t.skip(size); err == nil {
			_, err = t.line()
		}
		return name, "(a literal)", err
	}
	if err != nil {
		return name, "", err
	}
	value, _, err = unquoted(line)
	return name, value, err
}

// sieveStatus wants OK. A text that is a literal is passed over.
func sieveStatus(t *talk, line string) error {
	size, found, err := literalOf(line)
	if found && err == nil {
		if err = t.skip(size); err == nil {
			_, err = t.line()
		}
	}
	if status, _ := word(line); err == nil && status != "OK" {
		err = unexpected(line)
	}
	return err
}

func (sieveSpeech) startTLS(t *talk) error {
	if err := t.say("STARTTLS"); err != nil {
		return err
	}
	line, err := t.line()
	if err != nil {
		return err
	}
	return sieveStatus(t, line)
}

// secured reads the block that comes by itself (RFC 5804 2.2).
func (sieveSpeech) secured(t *talk) error { return sieveBlock(t) }

func (sieveSpeech) announce(t *talk, f *dialog.Forwarding) (trust, error) {
	if !t.xclient {
		return distrusts("it does not offer XCLIENT"), nil
	}
	if err := t.write(xclient.Line(f)); err != nil {
		return trust{}, err
	}
	line, err := t.line()
	if err != nil {
		return trust{}, err
	}
	if sieveStatus(t, line) != nil {
		return distrusts("to XCLIENT it says " + strconv.Quote(line)), nil
	}
	return trusted, nil
}

func (sieveSpeech) bye(t *talk) { _ = t.say("LOGOUT") }
