package interop

import (
	"bytes"
	"fmt"
	"strings"
)

// curl's exit statuses.
const (
	curlLoginDenied = 67
	curlWeirdReply  = 8
)

var mailCurlScenes = []mailScene{
	{kind: "curl", name: "imaps", run: curlReads("imaps", "imap", "PLAIN")},
	{kind: "curl", name: "imap STARTTLS", run: curlReads("imap", "imap-starttls", "PLAIN")},
	{kind: "curl", name: "pop3s", run: curlReads("pop3s", "pop3", "PLAIN")},
	{kind: "curl", name: "pop3s AUTH LOGIN", run: curlReads("pop3s", "pop3", "LOGIN", "--login-options", "AUTH=LOGIN")},
	{kind: "curl", name: "smtp STARTTLS", run: curlSends("smtp", "submission", "PLAIN")},
	{kind: "curl", name: "smtps", run: curlSends("smtps", "submissions", "PLAIN")},
	{kind: "curl", name: "smtps AUTH LOGIN", run: curlSends("smtps", "submissions", "LOGIN", "--login-options", "AUTH=LOGIN")},
	{kind: "curl", name: "wrong password, imaps", run: curlRefused("imaps", "imap")},
	{kind: "curl", name: "wrong password, pop3s", run: curlRefused("pop3s", "pop3")},
	{kind: "curl", name: "wrong password, smtp", run: curlRefused("smtp", "submission")},
	{kind: "curl", name: "server down, imaps", proxied: true, homes: []string{"down"}, run: curlDown("imaps", "imap", "NO [UNAVAILABLE]")},
	{kind: "curl", name: "server down, pop3s", proxied: true, homes: []string{"down"}, run: curlDown("pop3s", "pop3", "-ERR [SYS/TEMP]")},
	{kind: "curl", name: "server down, smtps", proxied: true, homes: []string{"down"}, run: curlDown("smtps", "submissions", "454 4.7.0")},
}

// curl runs curl at an entrance. Credentials go by a configuration file on standard input.
func (v *visit) curl(scheme, entrance, path, password string, args ...string) ([]byte, int) {
	v.Helper()
	url := fmt.Sprintf("%s://%s/%s", scheme, v.at(entrance), path)
	args = append([]string{"-sS", "--interface", v.source.String(), "--max-time", "50", "--ssl-reqd", "--cacert", v.roots(), "-K", "-", url}, args...)
	return runProgram(v.T, userConfig(v.name, password), nil, "curl", args...)
}

// firstMail is the path of the marker message in the URL of each protocol.
var firstMail = map[string]string{"imap": firstMessage, "imaps": firstMessage, "pop3s": "1"}

func curlReads(scheme, entrance, method string, args ...string) func(*visit) {
	return func(v *visit) {
		out, code := v.curl(scheme, entrance, firstMail[scheme], v.password, args...)
		if want := "Subject: on " + v.home; code != 0 || !bytes.Contains(out, []byte(want)) {
			v.Errorf("got status %d and %q, want %q", code, out, want)
		}
		v.loggedIn(v.home, entrance, v.replayed(method))
	}
}

// replayed is the method that the server logs for a client's: the proxy replays every password by SASL PLAIN where it can
// (SPEC 6.1).
func (v *visit) replayed(method string) string {
	if v.s.proxy != nil && method == "LOGIN" {
		return "PLAIN"
	}
	return method
}

// letter is a small message to oneself.
func (v *visit) letter(subject string) string {
	return fmt.Sprintf("From: %s\nTo: %[1]s\nSubject: %s\nDate: Tue, 14 Nov 2023 22:13:20 +0000\n\n.\n..\nhello\n", v.name, subject)
}

// delivers wants a letter to be in the visitor's mailbox, with its dot lines as they were.
func (v *visit) delivers(subject string) {
	v.Helper()
	got, err := v.host().delivered(v.account, "Subject: "+subject+"\n")
	if err != nil {
		v.Fatal(err)
	}
	if !strings.HasSuffix(got, "\n\n.\n..\nhello\n") {
		v.Errorf("got %q, want the body as it was sent", got)
	}
}

func curlSends(scheme, entrance, method string, args ...string) func(*visit) {
	return func(v *visit) {
		file := v.file("letter", strings.ReplaceAll(v.letter("by curl"), "\n", "\r\n"))
		args := append([]string{"--mail-from", v.name, "--mail-rcpt", v.name, "-T", file}, args...)
		if out, code := v.curl(scheme, entrance, "", v.password, args...); code != 0 {
			v.Fatalf("got status %d and %q", code, out)
		}
		v.delivers("by curl")
		v.loggedIn(v.home, entrance, v.replayed(method))
	}
}

func curlRefused(scheme, entrance string) func(*visit) {
	return func(v *visit) {
		args := []string{}
		if strings.HasPrefix(entrance, "submission") {
			args = append(args, "--mail-from", v.name, "--mail-rcpt", v.name, "-T", v.file("letter", v.letter("never")))
		}
		if out, code := v.curl(scheme, entrance, firstMail[scheme], "wrong", args...); code != curlLoginDenied {
			v.Errorf("got status %d and %q, want %d", code, out, curlLoginDenied)
		}
		v.refusedThere(entrance)
	}
}

// curlDown wants the temporary failure in the protocol's words, which curl shows with -v only.
func curlDown(scheme, entrance, want string) func(*visit) {
	return func(v *visit) {
		file := v.file("said", "")
		args := []string{"-v", "--stderr", file}
		if strings.HasPrefix(entrance, "submission") {
			args = append(args, "--mail-from", v.name, "--mail-rcpt", v.name, "-T", v.file("letter", v.letter("never")))
		}
		out, code := v.curl(scheme, entrance, firstMail[scheme], v.password, args...)
		if said := readFile(v.T, file); code == 0 || !strings.Contains(said, want) {
			v.Errorf("got status %d, %q and\n%s\nwant %q", code, out, said, want)
		}
	}
}
