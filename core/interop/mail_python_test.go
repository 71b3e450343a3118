package interop

import (
	"encoding/json"
	"strings"
)

var mailPythonScenes = []mailScene{
	{kind: "poplib", name: "USER and PASS", run: poplibReads("pop", "PLAIN")},
	{kind: "poplib", name: "AUTH PLAIN prompted", run: poplibReads("poplogin", "PLAIN")},
	{kind: "poplib", name: "wrong password, then the right one", run: poplibReads("popretry", "PLAIN", "refused -ERR [AUTH]")},
	{kind: "poplib", name: "server down", proxied: true, homes: []string{"down"}, run: poplibDown},
	{kind: "smtplib", name: "PLAIN", run: smtplibSends("smtp", "PLAIN")},
	{kind: "smtplib", name: "LOGIN", run: smtplibSends("smtplogin", "LOGIN")},
	{kind: "smtplib", name: "wrong password, then the right one", run: smtplibSends("smtpretry", "PLAIN", "refused 535")},
	{kind: "smtplib", name: "MAIL before AUTH", proxied: true, run: smtplibSends("smtpearly", "PLAIN", "refused 530 5.7.0")},
}

// mailPython runs a scene of testdata/mail.py to its end and gives what it said.
func (v *visit) mailPython(name, entrance string) string {
	v.Helper()
	at := v.at(entrance)
	props, err := json.Marshal(map[string]any{"host": at.Addr(), "port": at.Port(), "source": v.source, "user": v.name,
		"password": v.password, "roots": v.roots()})
	if err != nil {
		v.Fatal(err)
	}
	out, code := runProgram(v.T, "", []string{"SCENE=" + string(props)}, "python3", "testdata/mail.py", name)
	if code != 0 {
		v.Fatalf("got status %d after %s", code, out)
	}
	return string(out)
}

// saysAll wants each of words to begin a line.
func (v *visit) saysAll(said string, words []string) {
	v.Helper()
	for _, w := range words {
		if !strings.Contains("\n"+said, "\n"+w) {
			v.Errorf("got %q, want a line that begins with %q", said, w)
		}
	}
}

func poplibReads(scene, method string, says ...string) func(*visit) {
	return func(v *visit) {
		v.saysAll(v.mailPython(scene, "pop3"), append(says, "landed "+v.home))
		v.loggedIn(v.home, "pop3", method)
	}
}

func poplibDown(v *visit) {
	v.saysAll(v.mailPython("popwrong", "pop3"), []string{"refused -ERR [SYS/TEMP]"})
}

func smtplibSends(scene, method string, says ...string) func(*visit) {
	return func(v *visit) {
		v.saysAll(v.mailPython(scene, "submission"), append(says, "sent"))
		v.delivers("by smtplib")
		v.loggedIn(v.home, "submission", v.replayed(method))
	}
}
