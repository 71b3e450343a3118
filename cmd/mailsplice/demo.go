package main

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"mailsplice/core/mailfake"
)

func newDemo() *cobra.Command {
	var stay, verbose bool
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show a live cut-over between two small mail servers in this process",
		Long: "Starts two small mail services, 'legacy' and 'new', and mailsplice in front of them, all on loopback; nothing needs\n" +
			"to be installed. Clients of IMAP, POP3, submission and ManageSieve log in and land on legacy; the account is moved and\n" +
			"kicked while one idles, and they land on new.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := io.Discard
			if verbose {
				log = cmd.ErrOrStderr()
			}
			if err := demo(cmd.OutOrStdout(), log, stay); err != nil {
				return &exitError{exitConfig, fmt.Errorf("demo: %w", err)}
			}
			return nil
		},
	}
	c.Flags().BoolVar(&stay, "stay", false, "keep everything running afterwards, to type along, until Ctrl-C")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "show mailsplice's log")
	return c
}

// The account of the demo.
const (
	demoAccount  = "alice@example.org"
	demoPassword = "wonderland"
)

// demo plays the story, and stays until a signal if asked to.
func demo(out, log io.Writer, stay bool) error {
	s, err := newStage(log)
	if err != nil {
		return err
	}
	defer s.close()
	t := &teller{out: out}
	if err := s.play(t); err != nil {
		return err
	}
	if !stay {
		t.say("\nRun it with --stay to type along: curl and openssl commands are shown then.\n")
		return t.err
	}
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
	s.manual(t)
	<-ctx.Done()
	return t.err
}

// teller writes to the reader and remembers the first error.
type teller struct {
	out io.Writer
	err error
}

func (t *teller) say(format string, args ...any) {
	if _, err := fmt.Fprintf(t.out, format, args...); err != nil && t.err == nil {
		t.err = err
	}
}

// scene is one dialogue of the demo's mail program, shown line by line.
type scene struct {
	t *teller
	c *mailfake.Client
}

// hear shows what the server says until a line begins with one of the words.
func (s scene) hear(until ...string) (string, error) {
	for {
		line, err := s.c.Line()
		if err != nil {
			return "", err
		}
		s.t.say("    S: %s\n", line)
		for _, u := range until {
			if strings.HasPrefix(line, u) {
				return line, nil
			}
		}
	}
}

// ask sends a command and shows the answer. The password is not shown.
func (s scene) ask(line string, until ...string) (string, error) {
	s.t.say("    C: %s\n", strings.ReplaceAll(line, demoPassword, "********"))
	if err := s.c.Send(line); err != nil {
		return "", err
	}
	return s.hear(until...)
}

// login connects to the IMAP listener, logs in, reads the subject of the one message, and says where it landed.
func (s *stage) login(t *teller) (scene, string, error) {
	c, err := mailfake.DialWith(s.pairs[0].addr(), s.client(s.pairs[0]))
	if err != nil {
		return scene{}, "", err
	}
	sc := scene{t, c}
	t.say("    S: %s\n", c.Greeting)
	for _, step := range [][2]string{
		{fmt.Sprintf("a LOGIN %s %s", demoAccount, demoPassword), "a OK"},
		{"b EXAMINE INBOX", "b OK"},
		{"c FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)])", "Subject: "},
	} {
		line, err := sc.ask(step[0], step[1])
		if err != nil {
			return sc, "", err
		}
		if landed, ok := strings.CutPrefix(line, "Subject: on "); ok {
			_, err = sc.hear("c OK")
			return sc, landed, err
		}
	}
	return sc, "", errors.New("the message has no subject")
}

// landing is a client of any protocol, in TLS, with what the demo needs of it.
type landing interface {
	Login(user, password string) error
	Landed() (string, error)
	WaitEnd() (mailfake.End, error)
	Close()
}

// client is how a client connects to the listener of a pair.
func (s *stage) client(p *pair) mailfake.ClientOptions {
	o := mailfake.ClientOptions{Timeout: 10 * time.Second}
	if p.listener == "implicit" {
		o.TLS = s.trust()
	}
	return o
}

func (s *stage) trust() *tls.Config { return &tls.Config{RootCAs: s.roots, ServerName: "localhost"} }

// dial connects, and goes into TLS.
func (s *stage) dial(p *pair) (landing, error) {
	o := s.client(p)
	switch p.protocol {
	case mailfake.IMAP:
		return reached(mailfake.DialWith(p.addr(), o))
	case mailfake.POP3:
		return reached(mailfake.DialPOP3(p.addr(), o))
	case mailfake.ManageSieve:
		c, err := mailfake.DialSieve(p.addr(), o)
		if err == nil {
			err = c.StartTLS(s.trust())
		}
		return reached(c, err)
	default:
		c, err := mailfake.DialSMTP(p.addr(), o)
		if err == nil {
			err = c.StartTLS(s.trust())
		}
		return reached(c, err)
	}
}

// reached keeps a client that is none out of the interface.
func reached[C landing](c C, err error) (landing, error) {
	if err != nil {
		return nil, err
	}
	return c, nil
}

// land logs in by the protocol of a pair, and says where that is, as the server there knows it. The caller closes the client.
func (s *stage) land(t *teller, p *pair, want string) (landing, error) {
	c, err := s.dial(p)
	if err != nil {
		return nil, err
	}
	if err := c.Login(demoAccount, demoPassword); err != nil {
		return c, err
	}
	landed, err := c.Landed()
	if err != nil {
		return c, err
	}
	t.say("    %-12s it landed on %s, which was told that the client is %s\n", p.protocol, landed, seen(p.backend(landed)))
	if landed != want {
		return c, fmt.Errorf("a login by %s landed on %q", p.protocol, landed)
	}
	return c, nil
}

func (p *pair) addr() string { return p.at.String() }

// backend is one of the two by its name.
func (p *pair) backend(name string) *mailfake.Backend {
	if name == "new" {
		return p.new
	}
	return p.legacy
}

// play is the story: login, idle, move, kick, login.
func (s *stage) play(t *teller) error {
	t.say("Two mail services run in this process, legacy and new, each with a mailbox for %s.\n", demoAccount)
	t.say("legacy is told about clients by ID and XCLIENT, new by the PROXY protocol. mailsplice stands in front of both, every\n")
	t.say("connection in TLS; accounts without a mapping live on legacy.\n\n")
	t.say("    %-12s %-16s %-16s %s\n", "", "mailsplice", "legacy", "new")
	for _, p := range s.pairs {
		t.say("    %-12s %-16s %-16s %s\n", p.protocol, p.addr(), p.legacy.Addr(), p.new.Addr())
	}
	t.say("\n1. A mail program logs in through mailsplice:\n")
	sc, landed, err := s.login(t)
	if err != nil {
		return err
	}
	defer sc.c.Close()
	t.say("   -> it landed on %s, which was told that the client is %s. The same by the other protocols:\n", landed, seen(s.pairs[0].legacy))
	if landed != "legacy" {
		return fmt.Errorf("the first login landed on %q", landed)
	}
	open := []landing{sc.c}
	for _, p := range s.pairs[1:] {
		c, err := s.land(t, p, "legacy")
		if c != nil {
			defer c.Close()
		}
		if err != nil {
			return err
		}
		open = append(open, c)
	}
	t.say("\n2. The first one goes idle, as phones do; the others just stay:\n")
	if _, err := sc.ask("d IDLE", "+"); err != nil {
		return err
	}
	if err := s.cutOver(t); err != nil {
		return err
	}
	return s.comeBack(t, open)
}

// comeBack is the end of the kicked sessions, and the logins that follow.
func (s *stage) comeBack(t *teller, open []landing) error {
	for _, c := range open {
		end, err := c.WaitEnd()
		if err != nil {
			return err
		}
		if !end.Clean {
			return errors.New("a kicked connection did not end cleanly")
		}
	}
	t.say("\n4. All four connections have ended: a clean FIN each, no reset, no error. Mail programs log in again by themselves, with\n")
	t.say("   the same host name, port and password:\n")
	for _, p := range s.pairs {
		c, err := s.land(t, p, "new")
		if c != nil {
			c.Close()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// seen is the client's address as a backend knows it from its last session.
func seen(b *mailfake.Backend) string {
	logins := b.Logins()
	if len(logins) == 0 {
		return "nobody"
	}
	return logins[len(logins)-1].Client.String()
}

// cutOver moves the account by the admin API while its client idles.
func (s *stage) cutOver(t *teller) error {
	t.say("\n3. The mailbox has been copied; an administrator moves the account and ends its sessions:\n")
	for _, call := range []struct{ method, path string }{
		{"PUT", "/mappings?identifier=" + demoAccount + "&destination=new"},
		{"POST", "/connections/kick?identifier=" + demoAccount},
	} {
		answer, err := s.call(call.method, call.path)
		if err != nil {
			return err
		}
		t.say("    $ curl ... -X %s 'https://%s%s'\n    %s\n", call.method, s.proxy.AdminAddr(), call.path, answer)
	}
	return nil
}

// manual prints what to type.
func (s *stage) manual(t *teller) {
	cert := s.path("cert.pem")
	api := fmt.Sprintf("curl --cacert %s -H \"Authorization: Bearer $(cat %s)\"", cert, s.path("token"))
	imap, pop3, submission, sieve := s.pairs[0].addr(), s.pairs[1].addr(), s.pairs[2].addr(), s.pairs[3].addr()
	curl := fmt.Sprintf("curl -s --ssl-reqd --cacert %s -u %s:%s", cert, demoAccount, demoPassword)
	frame := base64.StdEncoding.EncodeToString([]byte("\x00" + demoAccount + "\x00" + demoPassword))
	t.say("\nEverything keeps running until Ctrl-C. In another terminal:\n\n")
	t.say("  # where does alice land? The subject of her message says it\n  %s 'imaps://%s/INBOX;MAILINDEX=1'\n  %s pop3s://%s/1\n\n", curl, imap, curl, pop3)
	t.say("  # send a message\n  echo Subject: hello | %s -v --mail-from %s --mail-rcpt %[2]s -T - smtp://%[3]s\n\n", curl, demoAccount, submission)
	t.say("  # by hand: a LOGIN %s %s, b IDLE, ...\n  openssl s_client -quiet -crlf -CAfile %s -connect %s\n\n", demoAccount, demoPassword, cert, imap)
	t.say("  # ManageSieve by hand: AUTHENTICATE \"PLAIN\" \"%s\", NOOP, ...\n  openssl s_client -quiet -crlf -starttls sieve -CAfile %s -connect %s\n\n", frame, cert, sieve)
	t.say("  # move her back, and end her sessions\n  %s \\\n    -X PUT 'https://%s/mappings?identifier=%s&destination=legacy&kick=true'\n\n", api, s.proxy.AdminAddr(), demoAccount)
	t.say("  # figures\n  %s https://%s/metrics\n", api, s.proxy.AdminAddr())
	t.say("\nConfiguration: %s, mappings: %s\n", s.path("demo.toml"), s.path("mappings.tsv"))
}
