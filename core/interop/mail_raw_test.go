package interop

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mailsplice/core/mailfake"
)

var mailRawScenes = []mailScene{
	{kind: "raw", name: "PROXY header, imap", proxied: true, families: true, run: rawBehind("behind-imap", withHeader)},
	{kind: "raw", name: "PROXY header, pop3", proxied: true, families: true, run: rawBehind("behind-pop3", withHeader)},
	{kind: "raw", name: "PROXY header, managesieve", proxied: true, families: true, run: rawBehind("behind-managesieve", withHeader)},
	{kind: "raw", name: "PROXY header, submission", proxied: true, families: true, run: rawBehind("behind-submission", withHeader)},
	{kind: "raw", name: "ID, mixed families, imap", proxied: true, families: true, run: rawBehind("told-imap", inProtocol)},
	{kind: "raw", name: "XCLIENT, mixed families, pop3", proxied: true, families: true, run: rawBehind("told-pop3", inProtocol)},
	{kind: "raw", name: "XCLIENT, mixed families, managesieve", proxied: true, families: true, run: rawBehind("told-managesieve", inProtocol)},
	{kind: "raw", name: "XCLIENT, mixed families, submission", proxied: true, families: true, run: rawBehind("told-submission", inProtocol)},
	{kind: "raw", name: "server down, managesieve", proxied: true, homes: []string{"down"}, run: sieveDown},
}

// talk is a scripted client of any of the protocols, past TLS.
type talk interface {
	Login(user, password string) error
	WaitEnd() (mailfake.End, error)
	Close()
}

// trust is the settings of a client that verifies whom it meets.
func (v *visit) trust() *tls.Config {
	v.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(readFile(v.T, v.roots()))) {
		v.Fatal("the certificate is no PEM")
	}
	return &tls.Config{RootCAs: roots, ServerName: v.s.certName(v.home)}
}

// talk connects at an entrance and goes into TLS, as that wants it. First, if any, is written before everything.
func (v *visit) talk(entrance string, first func(net.Conn) error) talk {
	v.Helper()
	o := mailfake.ClientOptions{Source: v.source, Timeout: 30 * time.Second, First: first}
	starttls := !slices.Contains([]string{"imap", "pop3", "submissions"}, entrance)
	if !starttls {
		o.TLS = v.trust()
	}
	t, upgrade, err := v.connect(entrance, o)
	if err == nil && starttls {
		err = upgrade(v.trust())
	}
	if err != nil {
		v.Fatalf("%s: %v", entrance, err)
	}
	v.Cleanup(t.Close)
	return t
}

// connect gives a client, and what takes it into TLS.
func (v *visit) connect(entrance string, o mailfake.ClientOptions) (talk, func(*tls.Config) error, error) {
	at := v.at(entrance).String()
	switch protocolOf(entrance) {
	case "imap":
		c, err := mailfake.DialWith(at, o)
		return c, func(conf *tls.Config) error {
			if _, err := c.Must("STARTTLS"); err != nil {
				return err
			}
			return c.TLS(conf)
		}, err
	case "pop3":
		c, err := mailfake.DialPOP3(at, o)
		return c, func(conf *tls.Config) error { return c.StartTLS(conf) }, err
	case "managesieve":
		c, err := mailfake.DialSieve(at, o)
		return c, func(conf *tls.Config) error { return c.StartTLS(conf) }, err
	default:
		c, err := mailfake.DialSMTP(at, o)
		return c, func(conf *tls.Config) error { return c.StartTLS(conf) }, err
	}
}

// announcement tells the proxy who the client is, as another proxy in front of it would; from has the source's family or
// the other one.
type announcement struct {
	mixed bool
	first func(v *visit, from netip.AddrPort) func(net.Conn) error
	then  func(t talk, from netip.AddrPort) error
}

var withHeader = announcement{
	first: func(v *visit, from netip.AddrPort) func(net.Conn) error {
		to := netip.AddrPortFrom(netip.MustParseAddr("198.51.100.1"), 143)
		if from.Addr().Is6() {
			to = netip.AddrPortFrom(netip.MustParseAddr("2001:db8::1"), 143)
		}
		return func(c net.Conn) error { return mailfake.WriteProxy(c, from, to) }
	},
	then: func(talk, netip.AddrPort) error { return nil },
}

var inProtocol = announcement{
	mixed: true,
	first: func(*visit, netip.AddrPort) func(net.Conn) error { return nil },
	then:  announce,
}

// announce is XCLIENT, or ID with IMAP.
func announce(t talk, from netip.AddrPort) error {
	addr, port := from.Addr(), from.Port()
	switch c := t.(type) {
	case *mailfake.Client:
		_, err := c.Must(fmt.Sprintf(`ID ("x-originating-ip" "%s" "x-originating-port" "%d")`, addr, port))
		return err
	case *mailfake.POP3Client:
		_, err := c.Must(fmt.Sprintf("XCLIENT ADDR=%s PORT=%d", addr, port))
		return err
	case *mailfake.SieveClient:
		_, err := c.Must(fmt.Sprintf("XCLIENT ADDR=%s PORT=%d", addr, port))
		return err
	case *mailfake.SMTPClient:
		prefix := ""
		if addr.Is6() {
			prefix = "IPV6:"
		}
		if err := c.Hello("front.example.net"); err != nil {
			return err
		}
		if _, err := c.Must(fmt.Sprintf("XCLIENT ADDR=%s%s PORT=%d", prefix, addr, port)); err != nil {
			return err
		}
		return c.Hello("laptop.example.net")
	}
	return fmt.Errorf("no announcement for %T", t)
}

// rawBehind logs in behind another proxy. The backend's log must name the client, whatever its family, and so it must when
// the family is not that of the address it has connected to (BACKENDS: mixed families break servers).
func rawBehind(entrance string, a announcement) func(*visit) {
	return func(v *visit) {
		if v.source.Is4() {
			v.source = v.s.front()
		}
		n := v.s.source(false).As4() // only its number is of use
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{203, 0, 113, n[3]}), 4000+uint16(n[3]))
		if v.source.Is6() != a.mixed {
			from = netip.AddrPortFrom(netip.MustParseAddr(fmt.Sprintf("2001:db8::%x", n[3])), from.Port())
		}
		t := v.talk(entrance, a.first(v, from))
		if err := a.then(t, from); err != nil {
			v.Fatal(err)
		}
		if err := t.Login(v.name, v.password); err != nil {
			v.Fatal(err)
		}
		if c, ok := t.(*mailfake.SMTPClient); ok { // Postfix names the user only with a message
			if _, err := c.Deliver(v.name, []string{v.name}, strings.NewReader("Subject: announced\r\n\r\n")); err != nil {
				v.Fatal(err)
			}
		}
		client := from.Addr().String()
		if protocolOf(entrance) != "submission" && v.host().Proxied && a.mixed && from.Addr().Is4() {
			client = "::ffff:" + client // both are sent as IPv6 then (SPEC 5.1), and Dovecot leaves it at that
		}
		v.announcedAs(v.home, entrance, "PLAIN", client)
	}
}

// sieveDown wants the temporary failure of ManageSieve, which sieve-connect does not show.
func sieveDown(v *visit) {
	c := v.talk("managesieve", nil).(*mailfake.SieveClient)
	r, err := c.Authenticate("PLAIN", mailfake.InitialResponse, mailfake.PlainFrame("", v.name, v.password))
	if err != nil || !strings.HasPrefix(r.String(), "NO (TRYLATER)") {
		v.Errorf("got %v (%v), want NO (TRYLATER)", r, err)
	}
}
