package interop

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"
)

// swaksBytes is a large mail, as SMTP clients send.
const swaksBytes = 20 << 20

// swaks's exit status when no AUTH has succeeded.
const swaksDenied = 28

var swaksScenes = []mailScene{
	{kind: "swaks", name: "AUTH PLAIN", run: swaksSends("submission", "PLAIN", "-tls")},
	{kind: "swaks", name: "AUTH LOGIN", run: swaksSends("submission", "LOGIN", "-tls")},
	{kind: "swaks", name: "AUTH PLAIN, TLS first", run: swaksSends("submissions", "PLAIN", "-tlsc")},
	{kind: "swaks", name: "20 MB", run: swaksBulk},
	{kind: "swaks", name: "wrong password", run: swaksWrong},
	{kind: "swaks", name: "no AUTH without TLS", run: swaksPlaintext},
	{kind: "swaks", name: "forged XCLIENT", proxied: true, run: swaksForged},
	{kind: "swaks", name: "server down", proxied: true, homes: []string{"down"}, run: swaksDown},
}

// swaks runs swaks at an entrance, as the visitor. It shows the whole dialogue.
func (v *visit) swaks(entrance, method, password string, args ...string) (string, int) {
	v.Helper()
	return v.swaksAt(entrance, append([]string{"--auth", method, "--auth-user", v.name, "--auth-password", password}, args...)...)
}

// swaksAt is swaks without a login.
func (v *visit) swaksAt(entrance string, args ...string) (string, int) {
	v.Helper()
	at := v.at(entrance)
	base := []string{"--server", at.Addr().String(), "--port", fmt.Sprint(at.Port()), "--local-interface", v.source.String(),
		"--helo", "laptop.example.net", "--timeout", "40", "--tls-verify", "--tls-ca-path", v.roots(), "--from", v.name, "--to", v.name}
	if v.source.Is6() {
		base = append(base, "-6")
	}
	out, code := runProgram(v.T, "", nil, "swaks", append(base, args...)...)
	return string(out), code
}

// swaksFile is a message as swaks takes it: it adds the last line's end itself.
func (v *visit) swaksFile(letter string) string {
	v.Helper()
	return "@" + v.file("letter", strings.TrimSuffix(letter, "\n"))
}

func swaksSends(entrance, method, tls string) func(*visit) {
	return func(v *visit) {
		subject := v.subject("swaks")
		out, code := v.swaks(entrance, method, v.password, tls, "--data", v.swaksFile(v.letter(subject)))
		if code != 0 {
			v.Fatalf("got status %d and\n%s", code, out)
		}
		v.delivers(subject)
		v.loggedIn(v.home, entrance, v.replayed(method))
	}
}

func swaksBulk(v *visit) {
	line := strings.Repeat("0123456789abcdef", 4) + "\n"
	body := strings.Repeat(line, swaksBytes/len(line))
	data := v.swaksFile("Subject: bulk by swaks\n\n" + body)
	if out, code := v.swaks("submission", "PLAIN", v.password, "-tls", "--data", data, "--suppress-data"); code != 0 {
		v.Fatalf("got status %d and\n%.2000s", code, out)
	}
	got, err := v.host().delivered(v.account, "Subject: bulk by swaks\n")
	if err != nil {
		v.Fatal(err)
	}
	_, got, _ = strings.Cut(got, "\n\n")
	if sha256.Sum256([]byte(got)) != sha256.Sum256([]byte(body)) {
		v.Errorf("got a body of %d bytes, want the %d that were sent", len(got), len(body))
	}
	v.loggedIn(v.home, "submission", "PLAIN")
}

func swaksWrong(v *visit) {
	if out, code := v.swaks("submission", "PLAIN", "wrong", "-tls"); code != swaksDenied || !strings.Contains(out, "<~* 535 5.7.8") {
		v.Errorf("got status %d, want %d, and a 535 in\n%s", code, swaksDenied, out)
	}
	v.refusedThere("submission")
}

// Credentials are not asked for in the clear, and swaks sends none (SPEC 3).
func swaksPlaintext(v *visit) {
	if out, code := v.swaks("submission", "PLAIN", v.password); code != swaksDenied || strings.Contains(out, "AUTH PLAIN ") {
		v.Errorf("got status %d, want %d, and no AUTH in\n%s", code, swaksDenied, out)
	}
}

// XCLIENT from just anybody is an unknown command (SPEC 3), and what it says reaches nobody.
func swaksForged(v *visit) {
	out, code := v.swaks("submission", "PLAIN", v.password, "-tls", "--xclient-addr", "203.0.113.66", "--xclient-optional", "--xclient-no-verify",
		"--data", v.swaksFile(v.letter("forged")))
	if code != 0 || strings.Contains(out, "XCLIENT NAME") || strings.Contains(out, "<~  220") && strings.Contains(out, "ADDR=203") {
		v.Errorf("got status %d and\n%s", code, out)
	}
	v.delivers("forged")
	v.loggedIn(v.home, "submission", "PLAIN")
	if got := grep(v.host().postfix.logText(), "203.0.113.66"); got != "" {
		v.Errorf("the forged address reached %s: %s", v.home, got)
	}
}

func swaksDown(v *visit) {
	if out, code := v.swaks("submission", "PLAIN", v.password, "-tls"); code != swaksDenied || !bytes.Contains([]byte(out), []byte("454 4.7.0")) {
		v.Errorf("got status %d, want %d, and a 454 4.7.0 in\n%s", code, swaksDenied, out)
	}
}
