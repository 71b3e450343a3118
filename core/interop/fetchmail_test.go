package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fetchmail's exit status for a refused login.
const fetchmailDenied = 3

var fetchmailScenes = []mailScene{
	{kind: "fetchmail", name: "pop3s", unbound: true, run: fetchmailReads("pop3", "POP3", "ssl")},
	{kind: "fetchmail", name: "imap STARTTLS", unbound: true, run: fetchmailReads("imap-starttls", "IMAP", `sslproto "TLS1.2+"`)},
	{kind: "fetchmail", name: "wrong password", unbound: true, run: fetchmailWrong},
}

const fetchmailConf = `set no bouncemail
poll "%s" service %d protocol %s user "%s" password "%s" %s sslcertck sslcertfile "%s" sslcommonname "%s" mda "cat >>%s" fetchall keep
`

// fetchmail fetches all mail, and gives it with the exit status.
func (v *visit) fetchmail(entrance, protocol, tls, password string) (mail string, code int) {
	v.Helper()
	at, dir := v.at(entrance), v.TempDir()
	box := filepath.Join(dir, "box")
	quoted := strings.NewReplacer(`\`, `\x5c`, `"`, `\x22`).Replace(password) // its strings hold no quote
	rc := v.file("fetchmailrc", fmt.Sprintf(fetchmailConf, at.Addr(), at.Port(), protocol, v.name, quoted, tls, v.roots(), v.s.certName(v.home), box))
	out, code := runProgram(v.T, "", []string{"FETCHMAILHOME=" + dir}, "fetchmail", "--nosyslog", "-f", rc, "-i", filepath.Join(dir, "ids"),
		"--pidfile", filepath.Join(dir, "pid"))
	v.Logf("fetchmail said: %s", out)
	text, _ := os.ReadFile(box)
	return string(text), code
}

func fetchmailReads(entrance, protocol, tls string) func(*visit) {
	return func(v *visit) {
		mail, code := v.fetchmail(entrance, protocol, tls, v.password)
		if want := "Subject: on " + v.home; code != 0 || !strings.Contains(mail, want) {
			v.Errorf("got status %d and %q, want %q", code, mail, want)
		}
		v.loggedIn(v.home, entrance, "PLAIN")
	}
}

func fetchmailWrong(v *visit) {
	if mail, code := v.fetchmail("pop3", "POP3", "ssl", "wrong"); code != fetchmailDenied {
		v.Errorf("got status %d and %q, want %d", code, mail, fetchmailDenied)
	}
	v.refusedThere("pop3")
}
