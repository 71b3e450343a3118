package interop

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

var sieveScenes = []mailScene{
	{kind: "sieve-connect", name: "upload, activate, list, download, delete", unbound: true, run: sieveConnectWorks},
	{kind: "sieve-connect", name: "AUTHENTICATE LOGIN", unbound: true, run: sieveConnectLogin},
	{kind: "sieve-connect", name: "wrong password", unbound: true, run: sieveConnectWrong},
}

const filter = "require [\"fileinto\"];\nif header :contains \"subject\" \"filed\" { fileinto \"Junk\"; }\n"

// sieveConnect runs one command of sieve-connect as the visitor. The password comes on standard input.
func (v *visit) sieveConnect(password string, args ...string) (string, int) {
	v.Helper()
	at := v.at("managesieve")
	base := []string{"--server", at.Addr().String(), "--port", fmt.Sprint(at.Port()), "--user", v.name, "--tlscafile", v.roots(),
		"--tlshostname", v.s.certName(v.home), "--noclearauth", "--passwordfd", "0"}
	out, code := runProgram(v.T, password+"\n", nil, "sieve-connect", append(base, args...)...)
	return string(out), code
}

// sieve runs a command that must succeed.
func (v *visit) sieve(args ...string) string {
	v.Helper()
	out, code := v.sieveConnect(v.password, args...)
	if code != 0 {
		v.Fatalf("%q: got status %d and %s", args, code, out)
	}
	return out
}

func sieveConnectWorks(v *visit) {
	v.sieve("--upload", "--localsieve", v.file("filter", filter), "--remotesieve", "mine")
	v.sieve("--activate", "--remotesieve", "mine")
	if got := v.sieve("--list"); !strings.Contains(got, `"mine" ACTIVE`) {
		v.Errorf("list: got %q, want mine, active", got)
	}
	script, err := os.ReadFile(v.host().path("mail/" + v.name + "/sieve/mine.sieve"))
	if err != nil || strings.ReplaceAll(string(script), "\r\n", "\n") != filter {
		v.Errorf("the script on %s: got %q (%v), want what was uploaded", v.home, script, err)
	}
	copied := filepath.Join(v.TempDir(), "copy")
	got := v.sieve("--exec", v.file("commands", "get mine "+copied+"\ndeactivate\ndelete mine\nlist\nquit\n"))
	if text := readFile(v.T, copied); strings.ReplaceAll(text, "\r\n", "\n") != filter {
		v.Errorf("download: got %q, want what was uploaded", text)
	}
	if strings.Contains(got, `"mine"`) {
		v.Errorf("list: got %q, want no script", got)
	}
	v.loggedIn(v.home, "managesieve", "PLAIN")
}

func sieveConnectLogin(v *visit) {
	v.sieve("--authmech", "LOGIN", "--list")
	v.loggedIn(v.home, "managesieve", v.replayed("LOGIN"))
}

func sieveConnectWrong(v *visit) {
	if out, code := v.sieveConnect("wrong", "--list"); code == 0 {
		v.Errorf("got status 0 and %s, want a failure", out)
	}
	v.refusedThere("managesieve")
}
