package proxy

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/wire"
)

// imapSpeech is IMAP (RFC 9051, 3501, 2971).
type imapSpeech struct{}

// greet wants a greeting before login: PREAUTH on a leg for logins is somebody else's session (SECURITY 5).
func (imapSpeech) greet(t *talk) error {
	line, err := imapLine(t)
	if err == nil && !strings.HasPrefix(strings.ToUpper(line), "* OK") {
		err = unexpected(line)
	}
	return err
}

// imapLine reads one response. Its literals are passed over.
func imapLine(t *talk) (string, error) {
	whole := ""
	for {
		line, err := t.line()
		if err != nil {
			return "", err
		}
		whole += line
		size, found, err := literalOf(line)
		if err != nil || !found {
			return whole, err
		}
		if err := t.skip(size); err != nil {
			return "", err
		}
	}
}

// command sends one under a tag and reads up to its answer. untagged gets what comes before. A goodbye, and a BAD that
// belongs to no command, are errors.
func command(t *talk, tag, text string, untagged func(name, rest string)) (status, rest string, err error) {
	if err := t.say(tag + " " + text); err != nil {
		return "", "", err
	}
	for {
		line, err := imapLine(t)
		if err != nil {
			return "", "", err
		}
		first, rest := word(line)
		if strings.EqualFold(first, tag) {
			status, rest = word(rest)
			return status, rest, nil
		}
		name, data := word(rest)
		if first != "*" || name == "BAD" || name == "BYE" {
			return "", "", unexpected(line)
		}
		if untagged != nil {
			untagged(name, data)
		}
	}
}

func (imapSpeech) capabilities(t *talk) error {
	t.offers, t.startTLS = nil, false
	status, rest, err := command(t, "p1", "CAPABILITY", func(name, data string) {
		if name == "CAPABILITY" {
			t.offers = strings.Fields(data)
		}
	})
	if err == nil && (status != "OK" || len(t.offers) == 0) {
		err = unexpected("CAPABILITY " + status + " " + rest)
	}
	t.startTLS = t.has("STARTTLS")
	return err
}

// has reports whether a name is among the capabilities.
func (t *talk) has(name string) bool {
	return slices.ContainsFunc(t.offers, func(c string) bool { return strings.EqualFold(c, name) })
}

func (imapSpeech) startTLS(t *talk) error {
	status, rest, err := command(t, "p2", "STARTTLS", nil)
	if err == nil && status != "OK" {
		err = unexpected(status + " " + rest)
	}
	return err
}

func (i imapSpeech) secured(t *talk) error { return i.capabilities(t) }

// announce sends ID. Dovecot 2.4 tells in its text whether it believes it, older ones do not; what proves distrust in all
// of them is LOGINDISABLED, which a trusted peer is never shown.
func (imapSpeech) announce(t *talk, f *dialog.Forwarding) (trust, error) {
	if !t.has("ID") {
		return distrusts("it does not offer ID"), nil
	}
	status, rest, err := command(t, "p3", "ID "+string(idList(f)), nil)
	switch {
	case err != nil:
		return trust{}, err
	case status != "OK":
		return distrusts("to ID it says " + strconv.Quote(status+" "+rest)), nil
	case strings.HasPrefix(rest, "Trusted "):
		return trusted, nil
	case t.has("LOGINDISABLED"):
		return distrusts("it took the ID, but still forbids logins in the clear"), nil
	}
	return trust{text: "it does not tell: to ID it says " + strconv.Quote(rest) + " (Dovecot 2.4 says \"Trusted ID completed.\" where it believes us)"}, nil
}

// idList is the list of SPEC 5.3.
func idList(f *dialog.Forwarding) []byte {
	transport := "insecure"
	if f.TLS {
		transport = "TLS"
	}
	list := []byte("(")
	add := func(name, value string) {
		if value != "" {
			list = append(wire.AppendQuoted(list, name), ' ')
			list = append(wire.AppendQuoted(list, value), ' ')
		}
	}
	end := func(which string, a netip.AddrPort) {
		if a.IsValid() {
			add("x-"+which+"-ip", a.Addr().Unmap().WithZone("").String())
			add("x-"+which+"-port", strconv.Itoa(int(a.Port())))
		}
	}
	end("originating", f.Client)
	end("connected", f.Local)
	add("x-proxy-ttl", strconv.Itoa(f.TTL))
	add("x-session-id", f.Session)
	add("x-client-transport", transport)
	return append(bytes.TrimRight(list, " "), ')')
}

func (imapSpeech) bye(t *talk) { _ = t.say("p4 LOGOUT") }
