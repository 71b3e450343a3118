package main

import (
	"context"
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
		Long: "Starts two small mail servers, 'legacy' and 'new', and mailsplice in front of them, all on loopback; nothing needs to\n" +
			"be installed. A client logs in, lands on legacy, idles, is moved and kicked, and lands on new.",
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
	s.manual(t)
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer cancel()
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

// login connects through mailsplice, logs in, reads the subject of the one message, and says where it landed.
func (s *stage) login(t *teller) (scene, string, error) {
	c, err := mailfake.DialWith(s.proxy.Addr("imap").String(), mailfake.ClientOptions{Timeout: 10 * time.Second, Hold: true})
	if err != nil {
		return scene{}, "", err
	}
	sc := scene{t, c}
	if _, err := sc.hear("*"); err != nil {
		return sc, "", err
	}
	if _, err := sc.ask(fmt.Sprintf("a LOGIN %s %s", demoAccount, demoPassword), "a OK"); err != nil {
		return sc, "", err
	}
	if _, err := sc.ask("b EXAMINE INBOX", "b OK"); err != nil {
		return sc, "", err
	}
	landed := ""
	t.say("    C: c FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)])\n")
	if err := c.Send("c FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)])"); err != nil {
		return sc, "", err
	}
	for {
		line, err := sc.hear("Subject: ", "c OK")
		if err != nil {
			return sc, "", err
		}
		if strings.HasPrefix(line, "c OK") {
			return sc, landed, nil
		}
		landed = strings.TrimPrefix(line, "Subject: on ")
	}
}

// play is the story: login, idle, move, kick, login.
func (s *stage) play(t *teller) error {
	t.say("Two mail servers run in this process, each with a mailbox for %s:\n", demoAccount)
	t.say("    legacy  %s   (told about clients by IMAP ID)\n    new     %s   (told about clients by PROXY protocol v2)\n", s.legacy.Addr(), s.new.Addr())
	t.say("mailsplice listens on %s; accounts without a mapping live on legacy.\n\n", s.proxy.Addr("imap"))
	t.say("1. A mail program logs in through mailsplice:\n")
	sc, landed, err := s.login(t)
	if err != nil {
		return err
	}
	defer sc.c.Close()
	t.say("   -> it landed on %s, which was told that the client is %s.\n\n", landed, seen(s.legacy))
	if landed != "legacy" {
		return fmt.Errorf("the first login landed on %q", landed)
	}
	t.say("2. It goes idle, as phones do:\n")
	if _, err := sc.ask("d IDLE", "+"); err != nil {
		return err
	}
	if err := s.cutOver(t); err != nil {
		return err
	}
	t.say("\n4. The mail program sees its connection end:\n")
	end, err := sc.c.WaitEnd()
	if err != nil {
		return err
	}
	if !end.Clean {
		return errors.New("the kicked connection did not end cleanly")
	}
	t.say("    (end of connection: a clean FIN, no reset, no error)\n   and reconnects by itself, with the same host name, port and password:\n")
	again, landed, err := s.login(t)
	if err != nil {
		return err
	}
	defer again.c.Close()
	t.say("   -> it landed on %s, which was told that the client is %s.\n", landed, seen(s.new))
	if landed != "new" {
		return fmt.Errorf("the second login landed on %q", landed)
	}
	_, err = again.ask("d LOGOUT", "d OK")
	return err
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
	api := fmt.Sprintf("curl --cacert %s -H \"Authorization: Bearer $(cat %s)\"", s.path("cert.pem"), s.path("token"))
	imap := s.proxy.Addr("imap")
	t.say("\nEverything keeps running until Ctrl-C. In another terminal:\n\n")
	t.say("  # where does alice land?\n  curl -s -u %s:%s 'imap://%s/INBOX;MAILINDEX=1'\n\n", demoAccount, demoPassword, imap)
	t.say("  # the same by hand: a LOGIN %s %s, b IDLE, ...\n  nc %s %d\n\n", demoAccount, demoPassword, imap.Addr(), imap.Port())
	t.say("  # move her back, and end her sessions\n  %s \\\n    -X PUT 'https://%s/mappings?identifier=%s&destination=legacy&kick=true'\n\n", api, s.proxy.AdminAddr(), demoAccount)
	t.say("  # figures\n  %s https://%s/stats\n\n", api, s.proxy.AdminAddr())
	t.say("  # the certificate of the admin API\n  openssl s_client -connect %s -CAfile %s </dev/null\n", s.proxy.AdminAddr(), s.path("cert.pem"))
	t.say("\nConfiguration: %s, mappings: %s\n", s.path("demo.toml"), s.path("mappings.tsv"))
}
