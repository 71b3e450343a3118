package interop

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"mailsplice/core/mailfake/port"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// Bounds of waiting for real programs; a busy machine with two cores needs a fraction of them.
const (
	startTimeout = 20 * time.Second
	stopTimeout  = 10 * time.Second
	logTimeout   = 10 * time.Second
	pollEvery    = 20 * time.Millisecond
)

// mailUser owns all mail: a number that no account of the system has.
const mailUser = 5143

// account is one mailbox, which exists on both servers; home is the one it is routed to at first.
type account struct {
	name, password, home string
}

// dovecot is one private Dovecot, run by the test in the foreground.
type dovecot struct {
	name string
	addr netip.AddrPort
	dir  string
	cmd  *exec.Cmd
	done chan error // the process's end
}

// dovecotOptions say how a Dovecot differs from the other.
type dovecotOptions struct {
	name     string
	ip       netip.Addr
	root     string // short, searchable by everybody
	proxied  bool   // wants a PROXY header, and TLS from the first byte; else trusts IMAP ID, and has STARTTLS
	tls      bool   // else everything is in the clear
	accounts []account
	key      *tokenKey
}

//go:embed dovecot.conf.tmpl
var dovecotConf string

var dovecotTemplate = template.Must(template.New("dovecot.conf").Parse(dovecotConf))

// host is the name in its certificate.
func (o *dovecotOptions) host() string { return o.name + ".example.org" }

// startDovecot lays out a directory, starts Dovecot in it and waits until it accepts connections.
func startDovecot(o dovecotOptions) (*dovecot, error) {
	addr, err := port.Free(o.ip)
	if err != nil {
		return nil, err
	}
	d := &dovecot{name: o.name, addr: addr, dir: filepath.Join(o.root, o.name), done: make(chan error, 1)}
	if err := d.layOut(o); err != nil {
		return nil, fmt.Errorf("laying out Dovecot %s: %w", o.name, err)
	}
	out, err := os.Create(d.path("log/start.log"))
	if err != nil {
		return nil, err
	}
	defer out.Close()
	d.cmd = exec.Command("dovecot", "-F", "-c", d.path("dovecot.conf"))
	d.cmd.Stdout, d.cmd.Stderr = out, out
	// Should the test die without its cleanup, Dovecot goes too.
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := d.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting Dovecot %s: %w", o.name, err)
	}
	go d.reap() // ends with the process, which stop ends
	if err := awaitPort(d.addr, d.done); err != nil {
		d.stop()
		return nil, fmt.Errorf("starting Dovecot %s: %w\n%s", o.name, err, d.logText())
	}
	return d, nil
}

func (d *dovecot) path(p string) string { return filepath.Join(d.dir, p) }

func (d *dovecot) reap() { d.done <- d.cmd.Wait() }

// layOut writes configuration, users, token key and one marker message for each account.
func (d *dovecot) layOut(o dovecotOptions) error {
	for _, p := range []string{"run", "state", "log", "mail", "keys/default/HS256"} {
		if err := os.MkdirAll(d.path(p), 0o755); err != nil {
			return err
		}
	}
	var conf bytes.Buffer
	err := dovecotTemplate.Execute(&conf, map[string]any{"Name": o.name, "Dir": d.dir, "IP": o.ip, "Port": d.addr.Port(),
		"Proxied": o.proxied, "TLS": o.tls, "Implicit": o.tls && o.proxied, "MailUser": mailUser, "Issuer": tokenIssuer})
	if err != nil {
		return err
	}
	cert, key, err := certificate(o.ip, o.host(), ecKey)
	if err != nil {
		return err
	}
	var users strings.Builder
	for _, a := range o.accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s\n", a.name, a.password)
		if err := d.deliverMarker(a); err != nil {
			return err
		}
	}
	oauth := fmt.Sprintf("introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix=%s/\nissuers = %s\n"+
		"username_attribute = sub\n", d.path("keys"), tokenIssuer)
	for p, text := range map[string]string{
		"dovecot.conf":               conf.String(),
		"oauth2.conf":                oauth,
		"users":                      users.String(),
		"cert.pem":                   string(cert),
		"key.pem":                    string(key),
		"keys/default/HS256/default": base64.StdEncoding.EncodeToString(o.key[:]),
	} {
		if err := os.WriteFile(d.path(p), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return os.Chown(d.path("mail"), mailUser, mailUser)
}

// deliverMarker puts the message into a mailbox that tells on which server one has landed.
func (d *dovecot) deliverMarker(a account) error {
	home := d.path("mail/" + a.name)
	for _, p := range []string{"", "/Maildir", "/Maildir/tmp", "/Maildir/cur", "/Maildir/new"} {
		if err := os.MkdirAll(home+p, 0o700); err != nil {
			return err
		}
		if err := os.Chown(home+p, mailUser, mailUser); err != nil {
			return err
		}
	}
	file := home + "/Maildir/new/1700000000.M1P1.marker"
	text := fmt.Sprintf("From: %s@example.org\nTo: %s\nSubject: on %s\nMessage-ID: <marker@%s>\n"+
		"Date: Tue, 14 Nov 2023 22:13:20 +0000\n\nThis mailbox is on %s.\n", d.name, a.name, d.name, d.name, d.name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Chown(file, mailUser, mailUser)
}

// stop ends Dovecot and waits for it. It may be called more than once.
func (d *dovecot) stop() { stopProcess(d.cmd, d.done) }

// fingerprint is the SHA-256 of its certificate, as tls_pinned_cert_sha256 wants it.
func (d *dovecot) fingerprint() (string, error) {
	text, err := os.ReadFile(d.path("cert.pem"))
	if err != nil {
		return "", err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return "", fmt.Errorf("reading the certificate of Dovecot %s: no PEM", d.name)
	}
	return fmt.Sprintf("%x", sha256.Sum256(block.Bytes)), nil
}

// logText is everything Dovecot has logged.
func (d *dovecot) logText() string {
	start, _ := os.ReadFile(d.path("log/start.log"))
	log, _ := os.ReadFile(d.path("log/dovecot.log"))
	return string(start) + string(log)
}

// logged waits for a line of the log that holds every one of words.
func (d *dovecot) logged(words ...string) (string, error) {
	found := ""
	ok := poll(logTimeout, func() bool {
		for line := range strings.Lines(d.logText()) {
			if holdsAll(line, words) {
				found = line
				return true
			}
		}
		return false
	})
	if ok {
		return found, nil
	}
	return "", fmt.Errorf("log of %s has no line with %q; lines with the first of them:\n%s", d.name, words,
		grep(d.logText(), words[0]))
}

func holdsAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

func grep(text, word string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		if strings.Contains(line, word) {
			out.WriteString(line)
		}
	}
	return out.String()
}

// awaitPort waits until addr accepts a connection, or the process behind it has ended.
func awaitPort(addr netip.AddrPort, done chan error) error {
	var ended error
	ok := poll(startTimeout, func() bool {
		select {
		case err := <-done:
			done <- err
			ended = fmt.Errorf("process ended: %v", err)
			return true
		default:
		}
		c, err := net.DialTimeout("tcp", addr.String(), time.Second)
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
	switch {
	case ended != nil:
		return ended
	case !ok:
		return fmt.Errorf("nobody listens on %s after %v", addr, startTimeout)
	default:
		return nil
	}
}

// poll looks again and again until ok, and says whether it came true in time.
func poll(timeout time.Duration, ok func() bool) bool {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	deadline := time.Now().Add(timeout)
	for !ok() {
		if time.Now().After(deadline) {
			return false
		}
		<-tick.C
	}
	return true
}

// stopProcess asks a process of ours to end, insists after stopTimeout, and waits for it.
func stopProcess(cmd *exec.Cmd, done chan error) {
	if cmd == nil || cmd.Process == nil {
		return
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); errors.Is(err, os.ErrProcessDone) {
		return
	}
	select {
	case <-done:
	case <-time.After(stopTimeout):
		_ = cmd.Process.Kill()
		<-done
	}
}
