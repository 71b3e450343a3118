package mailfake

import (
	"slices"
	"strings"
	"testing"
)

// A server that takes credentials inside TLS only, as most do.
func TestStartTLSInEveryProtocol(t *testing.T) {
	each(t, interactive, func(t *testing.T, p Protocol) {
		b := startWith(t, Options{Protocol: p, Name: "legacy", TLS: serverTLS(t), Capabilities: "VERSION 1.0",
			CapabilitiesTLS: "SASL PLAIN\nAUTH PLAIN\nUSER"})
		c := play(t, b)
		if err := c.Login("a", "b"); err == nil {
			t.Error("login before TLS: got no error")
		}
		ok(t, c.StartTLS(insecure))
		ok(t, c.Login("a", "b"))
		if got := b.Logins(); len(got) != 1 || !got[0].TLS || got[0].Attempts != 1 {
			t.Errorf("got %+v, want one login over TLS", got)
		}
		if r := must[Reply](t)(c.Command(words[p].starttls)); r.OK() {
			t.Errorf("%s inside TLS: got %q", words[p].starttls, r)
		}
		ok(t, c.Quit())
		if end := must[End](t)(c.WaitEnd()); !end.Clean {
			t.Errorf("got %+v, want close_notify and FIN", end)
		}
	})
}

// offeredBy is the capabilities as a client of the protocol sees them.
func offeredBy(t *testing.T, c player) []string {
	t.Helper()
	switch c := c.(type) {
	case *POP3Client:
		return must[Reply](t)(c.Must("CAPA")).Untagged
	case *SieveClient:
		ok(t, c.Capabilities())
		return c.Offered
	case *SMTPClient:
		ok(t, c.Hello(""))
		return c.Offered
	}
	return nil
}

func TestStartTLSIsOfferedOutsideOnly(t *testing.T) {
	each(t, newcomers, func(t *testing.T, p Protocol) {
		name := "STARTTLS"
		switch p {
		case POP3:
			name = "STLS"
		case ManageSieve:
			name = `"STARTTLS"`
		}
		b := startWith(t, Options{Protocol: p, TLS: serverTLS(t)})
		c := play(t, b)
		if got := offeredBy(t, c); !slices.Contains(got, name) {
			t.Errorf("outside TLS: got %q, want %s", got, name)
		}
		ok(t, c.StartTLS(insecure))
		if got := offeredBy(t, c); slices.Contains(got, name) {
			t.Errorf("inside TLS: got %q, want no %s", got, name)
		}
		if got := offeredBy(t, play(t, startWith(t, Options{Protocol: p}))); slices.Contains(got, name) {
			t.Errorf("without TLS: got %q, want no %s", got, name)
		}
	})
}

func TestStartTLSNotThere(t *testing.T) {
	each(t, newcomers, func(t *testing.T, p Protocol) {
		if err := play(t, startWith(t, Options{Protocol: p})).StartTLS(insecure); err == nil {
			t.Error("got no error")
		}
	})
}

// What follows the go-ahead in plaintext is noticed by the client (SECURITY 6), and what follows the command by the
// backend (SECURITY 1).
func TestStartTLSInjected(t *testing.T) {
	each(t, newcomers, func(t *testing.T, p Protocol) {
		b := startWith(t, Options{Protocol: p, TLS: serverTLS(t), Hooks: Hooks{OnStartTLS: Inject("+OK OK 250 injected\r\n")}})
		c := play(t, b)
		if err := c.StartTLS(insecure); err == nil || !strings.Contains(err.Error(), "bytes came ahead") {
			t.Errorf("bytes from the backend: got %v", err)
		}
		c.Close()
		c = play(t, startWith(t, Options{Protocol: p, TLS: serverTLS(t)}))
		verb := "STARTTLS"
		if p == POP3 {
			verb = "STLS"
		}
		ok(t, c.SendRaw(verb+"\r\nNOOP\r\n"))
		if end := must[End](t)(c.WaitEnd()); !end.Reset {
			t.Errorf("bytes from the client: got %+v, want a reset", end)
		}
	})
}

func TestImplicitTLS(t *testing.T) {
	each(t, newcomers, func(t *testing.T, p Protocol) {
		b := startWith(t, Options{Protocol: p, TLS: serverTLS(t), Implicit: true})
		c := playWith(t, b, ClientOptions{TLS: insecure})
		if got := strings.Join(offeredBy(t, c), " "); strings.Contains(got, "STARTTLS") || strings.Contains(got, "STLS") {
			t.Errorf("got %q, want no STARTTLS", got)
		}
		if !b.Sessions()[0].TLS {
			t.Error("the session is not recorded as one over TLS")
		}
		ok(t, c.Quit())
	})
}

// A hook behind the handshake may speak first; ManageSieve's block is then its business.
func TestWordsBehindTheHandshake(t *testing.T) {
	b := startWith(t, Options{Protocol: ManageSieve, TLS: serverTLS(t), Hooks: Hooks{OnTLS: Say("\"SASL\" \"PLAIN\"\r\nOK\r\n")}})
	c := must[*SieveClient](t)(DialSieve(b.Addr().String(), ClientOptions{}))
	defer c.Close()
	ok(t, c.StartTLS(insecure))
	if len(c.Offered) != 1 || c.Offered[0] != `"SASL" "PLAIN"` {
		t.Errorf("got %q, want one mechanism", c.Offered)
	}
}

func TestIMAPInsideTLS(t *testing.T) {
	b := newBackend(t, Options{TLS: serverTLS(t), Capabilities: "IMAP4rev1 LOGINDISABLED", CapabilitiesTLS: "IMAP4rev1 AUTH=PLAIN",
		Hooks: Hooks{OnStartTLS: Times(1, Inject("* OK injected\r\n"))}})
	c := dial(t, b)
	must[Reply](t)(c.Must("STARTTLS"))
	must[string](t)(c.Expect("* OK injected"))
	c = dial(t, b)
	must[Reply](t)(c.Must("STARTTLS"))
	ok(t, c.TLS(insecure))
	if got := must[Reply](t)(c.Must("CAPABILITY")).Find("*"); got != "* CAPABILITY IMAP4rev1 AUTH=PLAIN" {
		t.Errorf("got %q", got)
	}
	ok(t, c.Login("a", "b"))
}
