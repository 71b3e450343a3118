package interop

import "fmt"

// msmtp's exit statuses (sysexits.h).
const (
	msmtpNoPermission = 77
	msmtpTemporary    = 75
)

var msmtpScenes = []mailScene{
	{kind: "msmtp", name: "STARTTLS", run: msmtpSends("submission", "on", "plain", "PLAIN")},
	{kind: "msmtp", name: "TLS first, AUTH LOGIN", run: msmtpSends("submissions", "off", "login", "LOGIN")},
	{kind: "msmtp", name: "wrong password", run: msmtpWrong},
}

const msmtpConf = `account a
host %s
port %d
source_ip %s
domain laptop.example.net
tls on
tls_starttls %s
tls_trust_file %s
auth %s
user %s
passwordeval "cat %s"
from %[7]s
`

// msmtp sends a letter to oneself.
func (v *visit) msmtp(entrance, starttls, auth, password, letter string) ([]byte, int) {
	v.Helper()
	at := v.at(entrance)
	conf := fmt.Sprintf(msmtpConf, at.Addr(), at.Port(), v.source, starttls, v.roots(), auth, v.name, v.file("password", password+"\n"))
	return runProgram(v.T, letter, nil, "msmtp", "-C", v.file("msmtprc", conf), "-a", "a", v.name)
}

func msmtpSends(entrance, starttls, auth, method string) func(*visit) {
	return func(v *visit) {
		if out, code := v.msmtp(entrance, starttls, auth, v.password, v.letter("by msmtp")); code != 0 {
			v.Fatalf("got status %d and %s", code, out)
		}
		v.delivers("by msmtp")
		v.loggedIn(v.home, entrance, v.replayed(method))
	}
}

func msmtpWrong(v *visit) {
	if out, code := v.msmtp("submission", "on", "plain", "wrong", v.letter("never")); code != msmtpNoPermission {
		v.Errorf("got status %d and %s, want %d", code, out, msmtpNoPermission)
	}
	v.refusedThere("submission")
}
