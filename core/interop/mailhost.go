package interop

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"mailsplice/core/mailfake/port"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/template"
)

// mailDomain is where all accounts of the mail hosts live.
const mailDomain = "example.org"

// mailHost is everything that one machine of a mail service runs: Dovecot for IMAP, POP3, ManageSieve and LMTP, and
// Postfix for SMTP and submission, which delivers into Dovecot and asks it for passwords.
type mailHost struct {
	Name    string
	Host    string // in its certificate
	IP      netip.Addr
	Front   netip.Addr // of relays in front of it, also in its certificate
	Proxied bool       // wants a PROXY header on every connection; else trusts what the proxy announces in the protocol
	Dir     string
	Pin     string // SHA-256 of its certificate
	Ports   map[string]uint16

	dovecot, postfix *program
}

// services are what a mail host listens for; the names with an s at the end are in TLS from the first byte.
var services = []string{"imap", "imaps", "pop3", "pop3s", "managesieve", "lmtp", "smtp", "smtps", "submission", "submissions"}

var (
	//go:embed dovecot-mail.conf.tmpl
	dovecotMailConf string
	//go:embed postfix-main.cf.tmpl
	postfixMain string
	//go:embed postfix-master.cf.tmpl
	postfixMaster string
)

// startMailHost lays out a directory below root, which must be short and searchable by everybody, and starts both servers
// without waiting for them. The caller stops the host, after an error too.
func startMailHost(h *mailHost, root string, accounts []account) error {
	h.Dir, h.Ports = filepath.Join(root, h.Name), map[string]uint16{}
	for _, service := range services {
		at, err := port.Free(h.IP)
		if err != nil {
			return err
		}
		h.Ports[service] = at.Port()
	}
	err := h.layOut(accounts)
	if err != nil {
		return fmt.Errorf("laying out mail host %s: %w", h.Name, err)
	}
	h.dovecot, err = startProgram("Dovecot "+h.Name, nil, []string{h.path("log/dovecot.start"), h.path("log/dovecot.log")},
		"dovecot", "-F", "-c", h.path("dovecot.conf"))
	if err != nil {
		return err
	}
	h.postfix, err = startProgram("Postfix "+h.Name, []string{"MAIL_CONFIG=" + h.path("postfix")},
		[]string{h.path("log/postfix.start"), h.path("log/maillog")}, guarded(postfixMasterProgram, "-s", "-c", h.path("postfix"))...)
	return err
}

// ready waits until every service accepts connections. No byte is sent: a server that wants a PROXY header first logs that.
func (h *mailHost) ready() error {
	for _, service := range services {
		p := h.dovecot
		if strings.HasPrefix(service, "s") {
			p = h.postfix
		}
		if err := awaitPort(h.at(service), p.done); err != nil {
			return fmt.Errorf("starting %s for %s: %w\n%s", p.name, service, err, p.logText())
		}
	}
	return nil
}

func (h *mailHost) stop() {
	for _, p := range []*program{h.postfix, h.dovecot} {
		if p != nil {
			p.stop()
		}
	}
}

func (h *mailHost) path(p string) string { return filepath.Join(h.Dir, p) }

func (h *mailHost) at(service string) netip.AddrPort {
	return netip.AddrPortFrom(h.IP, h.Ports[service])
}

// layOut writes configurations, certificate, accounts, and one marker message for each account.
func (h *mailHost) layOut(accounts []account) error {
	for _, p := range []string{"run", "state", "log", "mail", "postfix"} {
		if err := os.MkdirAll(h.path(p), 0o755); err != nil {
			return err
		}
	}
	cert, key, err := certificate(h.IP, h.Host, ecKey, h.Front)
	if err != nil {
		return err
	}
	h.Pin = fingerprint(cert)
	var users, mailboxes strings.Builder
	for _, a := range accounts {
		fmt.Fprintf(&users, "%s:{PLAIN}%s\n", a.name, a.password)
		fmt.Fprintf(&mailboxes, "%s yes\n", a.name)
		if err := h.deliverMarker(a); err != nil {
			return err
		}
	}
	files := map[string]string{"cert.pem": string(cert), "key.pem": string(key), "users": users.String(), "mailboxes": mailboxes.String()}
	for name, text := range map[string]string{"dovecot.conf": dovecotMailConf, "postfix/main.cf": postfixMain, "postfix/master.cf": postfixMaster} {
		if files[name], err = h.fill(name, text); err != nil {
			return err
		}
	}
	for name, text := range files {
		if err := os.WriteFile(h.path(name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := layOutQueue(h.path("spool"), h.path("lib")); err != nil {
		return err
	}
	return os.Chown(h.path("mail"), mailUser, mailUser)
}

func (h *mailHost) fill(name, text string) (string, error) {
	yesNo := map[bool]string{true: "yes", false: "no"}
	var out bytes.Buffer
	t, err := template.New(name).Option("missingkey=error").Parse(text)
	if err == nil {
		err = t.Execute(&out, struct {
			*mailHost
			Domain, HAProxy string
			MailUser        int
		}{h, mailDomain, yesNo[h.Proxied], mailUser})
	}
	return out.String(), err
}

// deliverMarker puts the message into a mailbox that tells on which host one has landed.
func (h *mailHost) deliverMarker(a account) error {
	return (&dovecot{name: h.Name, dir: h.Dir}).deliverMarker(a)
}

// delivered waits for a message of an account's INBOX that holds text in its first bytes, and gives it whole, with LF.
func (h *mailHost) delivered(a account, text string) (string, error) {
	found := ""
	ok := poll(logTimeout, func() bool {
		files, _ := filepath.Glob(h.path("mail/" + a.name + "/Maildir/new/*"))
		for _, f := range files {
			message, err := os.ReadFile(f)
			if err == nil && bytes.Contains(message[:min(len(message), 8<<10)], []byte(text)) {
				found = string(message)
				return true
			}
		}
		return false
	})
	if !ok {
		return "", fmt.Errorf("no message of %s on %s holds %q\n%s", a.name, h.Name, text, grep(h.postfix.logText(), a.name))
	}
	return found, nil
}

// fingerprint is the SHA-256 of a certificate as tls_pinned_cert_sha256 wants it.
func fingerprint(text []byte) string {
	block, _ := pem.Decode(text)
	if block == nil {
		return ""
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}
