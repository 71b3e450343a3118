package interop

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"mailsplice/core/mailfake"
)

var passKinds = []string{"swaks", "raw"}

// passScenes know no login: the account is the recipient.
var passScenes = []mailScene{
	{kind: "swaks", name: "smtp", run: passSends("smtp")},
	{kind: "swaks", name: "smtps", run: passSends("smtps", "-tlsc")},
	{kind: "swaks", name: "lmtp", run: passSends("lmtp", "--protocol", "LMTP")},
	{kind: "raw", name: "smtp, byte for byte", run: passBytes("smtp", mailfake.DialSMTP)},
	{kind: "raw", name: "lmtp, byte for byte", run: passBytes("lmtp", mailfake.DialLMTP)},
	{kind: "raw", name: "lmtp, an answer for each recipient", run: passRecipients},
}

// TestPassThrough hands SMTP and LMTP to each host: legacy is told by XCLIENT, after STARTTLS with SMTP, and stalwart by a
// PROXY header (SPEC 3.5).
func TestPassThrough(t *testing.T) {
	wanted(t)
	t.Parallel()
	s := newMailStage(t, 12, 20)
	s.straight(t)
	defer s.autopsy(t)
	for _, home := range bothMailHomes {
		s.through(t, "pass-"+home, passThroughConf, []string{"smtp", "smtps", "lmtp"}, map[string]any{"Home": s.hosts[home]}, nil)
		for _, sc := range passScenes {
			s.perform(t, sc, home, false)
			s.perform(t, sc, home, true)
		}
		s.checkPassed(t)
		s.hosts[home].stop()
		s.perform(t, mailScene{kind: "raw", name: "server down", run: passDown}, home, false)
		s.proxy.stop()
	}
	s.sum(t, "pass-through", passKinds)
}

// passSends wants the Received line of the backend to name the client, by its address and by the name it gave itself.
func passSends(entrance string, args ...string) func(*visit) {
	return func(v *visit) {
		subject := v.subject("swaks")
		if out, code := v.swaksAt(entrance, append(args, "--data", v.swaksFile(v.letter(subject)))...); code != 0 {
			v.Fatalf("got status %d and\n%s", code, out)
		}
		v.delivers(subject)
		v.received(subject)
	}
}

// received wants the Received line of a message to name the client.
func (v *visit) received(subject string) {
	v.Helper()
	message, err := v.host().delivered(v.account, "Subject: "+subject+"\n")
	if err != nil {
		v.Fatal(err)
	}
	for _, form := range []string{"laptop.example.net (unknown [%s])", "laptop.example.net (unknown [IPv6:%s])", "laptop.example.net ([%s])",
		"laptop.example.net ([IPv6:%s])"} {
		if strings.Contains(message, "from "+fmt.Sprintf(form, v.source)) {
			return
		}
	}
	v.Errorf("no Received line names laptop.example.net at %s:\n%s", v.source, message)
}

// oddities is a message, dots doubled, that a proxy which reads it might change.
var oddities = "From: <>\r\nDate: Tue, 14 Nov 2023 22:13:20 +0000\r\nMessage-ID: <odd@example.net>\r\nX-Odd: a\tb  \r\n\tfolded\r\n\r\n" +
	"..\r\n...\r\n..dot\r\n .\r\n" + // dot lines
	"bare\nLF\r\nbare\rCR\r\n\r\r\nends in CR\r\r\n" +
	"8 bits \xff\xfe\x80 and \xc3\xa4\r\n" +
	"blanks at the end \t \r\n" +
	strings.Repeat("long ", 190) + "\r\n" +
	"MAIL FROM:<>\r\nQUIT\r\nSTARTTLS\r\n\r\n\r\n" +
	"last\r\n.\r\n"

// passBytes sends the same message straight and through the proxy: what the server keeps of it must not differ.
func passBytes(service string, dial func(string, mailfake.ClientOptions) (*mailfake.SMTPClient, error)) func(*visit) {
	return func(v *visit) {
		direct := v.host().at(service)
		if v.host().Proxied {
			direct = v.s.relays[service].addr()
		}
		var kept []string
		for _, way := range []struct {
			subject string
			at      netip.AddrPort
			source  netip.Addr
		}{{"sent straight", direct, netip.Addr{}}, {"passed through", v.at(service), v.source}} {
			c, err := dial(way.at.String(), mailfake.ClientOptions{Source: way.source, Timeout: 30 * time.Second})
			if err != nil {
				v.Fatal(err)
			}
			v.Cleanup(c.Close)
			if err := c.Hello("laptop.example.net"); err != nil {
				v.Fatal(err)
			}
			replies, err := c.DeliverRaw(v.name, []string{v.name}, "Subject: "+way.subject+"\r\n"+oddities)
			if err != nil || len(replies) != 1 || !replies[0].OK() {
				v.Fatalf("%s: got %v (%v), want one 250", way.subject, replies, err)
			}
			message, err := v.host().delivered(v.account, "Subject: "+way.subject+"\n")
			if err != nil {
				v.Fatal(err)
			}
			_, rest, _ := strings.Cut(message, "Subject: "+way.subject+"\n")
			kept = append(kept, rest)
			if err := c.Quit(); err != nil {
				v.Error(err)
			}
		}
		if kept[0] != kept[1] || !strings.Contains(kept[1], "\n.\n..\n.dot\n") {
			v.Errorf("straight %q\nthrough  %q", kept[0], kept[1])
		}
		v.received("passed through")
	}
}

// passRecipients has the server answer for each recipient of an LMTP message, which it does only if it was understood.
func passRecipients(v *visit) {
	other := v.s.take(v.T, v.home)
	c, err := mailfake.DialLMTP(v.at("lmtp").String(), mailfake.ClientOptions{Source: v.source, Timeout: 30 * time.Second})
	if err != nil {
		v.Fatal(err)
	}
	v.Cleanup(c.Close)
	replies, err := c.Deliver(v.name, []string{v.name, other.name}, strings.NewReader("Subject: to both\r\n\r\nhello\r\n"))
	if err != nil || len(replies) != 2 || !replies[0].OK() || !replies[1].OK() {
		v.Fatalf("got %v (%v), want two 250", replies, err)
	}
	for _, a := range []account{v.account, other} {
		if _, err := v.host().delivered(a, "Subject: to both\n"); err != nil {
			v.Error(err)
		}
	}
	if r, err := c.Command("RCPT TO:<nobody@" + mailDomain + ">"); err != nil || r.Status != "503" {
		v.Errorf("RCPT without MAIL: got %v (%v), want 503", r, err)
	}
}

// passDown wants 421 and the end (SPEC 3.5).
func passDown(v *visit) {
	for _, entrance := range []string{"smtp", "lmtp"} {
		c, err := mailfake.DialConn(v.at(entrance).String(), mailfake.ClientOptions{Source: v.source, Timeout: 30 * time.Second})
		if err != nil {
			v.Fatal(err)
		}
		v.Cleanup(c.Close)
		if end, err := c.WaitEnd(); err != nil || !end.Clean || !strings.HasPrefix(strings.Join(end.Lines, "\n"), "421 4.3.2 ") {
			v.Errorf("%s: got %+v (%v), want 421 4.3.2 and a FIN", entrance, end, err)
		}
	}
}

// checkPassed wants the run's sessions in the log, none of whose TLS stayed with crypto/tls.
func (s *mailStage) checkPassed(t *testing.T) {
	t.Helper()
	s.checkTakeovers(t)
	for _, protocol := range []string{"smtp", "lmtp"} {
		if grep(grep(s.proxy.logText(), `msg="session ended"`), "protocol="+protocol+" ") == "" {
			t.Errorf("no session of %s in the log", protocol)
		}
	}
	if bad := grep(s.proxy.logText(), "mode=conn "); bad != "" {
		t.Errorf("sessions on lane conn:\n%s", bad)
	}
}
