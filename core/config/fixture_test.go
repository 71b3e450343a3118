package config

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// now is the time that every test is run at.
var now = time.Date(2030, 6, 1, 12, 0, 0, 0, time.UTC)

// pairSpec is a certificate to make; the files are NAME.pem and NAME.key.
type pairSpec struct {
	name  string
	ed    bool // Ed25519 instead of ECDSA
	cn    string
	sans  []string
	until time.Time
}

// newDir makes a folder with everything that the base configuration and the cases name.
func newDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	year := now.AddDate(1, 0, 0)
	for _, s := range []pairSpec{
		{"mail", false, "mail.example.com", []string{"mail.example.com", "*.example.com"}, year},
		{"twin", false, "", []string{"MAIL.example.com"}, year},
		{"ed", true, "", []string{"mail.example.com"}, year},
		{"cn", false, "mail.example.com", nil, year},
		{"soon", false, "", []string{"soon.example.org"}, now.AddDate(0, 0, 13)},
		{"late", false, "", []string{"late.example.org"}, now.AddDate(0, 0, 15)},
		{"past", false, "", []string{"past.example.org"}, now.AddDate(0, 0, -1)},
	} {
		makePair(t, dir, s)
	}
	write(t, dir, "mappings.tsv", 0o644, "")
	write(t, dir, "token", 0o600, " "+strings.Repeat("t", 32)+"\n")
	write(t, dir, "short.token", 0o600, "hunter2")
	write(t, dir, "blank.token", 0o600, strings.Repeat("s3 ", 20))
	write(t, dir, "open.token", 0o644, strings.Repeat("t", 32))
	write(t, dir, "empty.pem", 0o644, "")
	key, err := os.ReadFile(filepath.Join(dir, "mail.key"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "open.key", 0o644, string(key))
	return dir
}

func write(t *testing.T, dir, name string, mode os.FileMode, text string) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

func makePair(t *testing.T, dir string, s pairSpec) {
	t.Helper()
	var key crypto.Signer
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if s.ed {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	}
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: s.cn}, DNSNames: s.sans,
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: s.until}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, s.name+".pem", 0o644, encode("CERTIFICATE", cert))
	write(t, dir, s.name+".key", 0o600, encode("PRIVATE KEY", private))
}

func encode(kind string, der []byte) string {
	var b bytes.Buffer
	_ = pem.Encode(&b, &pem.Block{Type: kind, Bytes: der}) // a bytes.Buffer takes everything
	return b.String()
}

// base is a valid configuration. Comments are the places where a case puts something.
const base = `[server]
#server
[tls.certificate.public]
cert = "mail.pem"
key = "mail.key"
#certificate
[listener.in]
protocol = "imap"
bind = ["127.0.0.1:1143"]
tls = "implicit"
#listener
[destination.old]
host = "imap.example.com"
#old
[destination.old.protocol.imap]
port = 143
tls = "starttls"
#leg
[destination.new]
host = "new.example.com"
#new
[destination.new.protocol.imap]
port = 993
tls = "implicit"
[mapping]
source = "file"
#mapping
[mapping.file]
path = "mappings.tsv"
[routing]
default_destination = "old"
#routing
[admin]
bind = "127.0.0.1:9443"
bearer_token_file = "token"
#admin
#end
`

// edit replaces at, or puts text behind it if it is a comment.
func edit(t *testing.T, src, at, text string) string {
	t.Helper()
	if !strings.Contains(src, at+"\n") {
		t.Fatalf("the base configuration has no line %q", at)
	}
	if strings.HasPrefix(at, "#") {
		text = at + "\n" + text
	}
	return strings.Replace(src, at+"\n", text+"\n", 1)
}

// testOptions judge a configuration in dir as if on a machine with IPv6 and one public address.
func testOptions(dir string) Options {
	return Options{
		Path:       filepath.Join(dir, "c.toml"),
		Env:        func(string) string { return "" },
		Now:        func() time.Time { return now },
		LocalAddrs: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} },
		HasIPv6:    func() bool { return true },
	}
}

// short is a list of problems without the folder they are in, for comparison.
func short(ps Problems, dir string) []string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = strings.ReplaceAll(p.Key+": found "+p.Found+", allowed "+p.Allowed, dir+"/", "")
	}
	return lines
}

func problems(t *testing.T, err error) Problems {
	t.Helper()
	ps, ok := err.(Problems)
	if err != nil && !ok {
		t.Fatalf("got error %v, want Problems", err)
	}
	return ps
}

// wantProblems compares: one problem for each string, which begins with it.
func wantProblems(t *testing.T, got []string, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("got %d problems\n%s\nwant %d\n%s", len(got), strings.Join(got, "\n"), len(want), strings.Join(want, "\n"))
		return
	}
	for i := range got {
		if !strings.HasPrefix(got[i], want[i]) {
			t.Errorf("got  %s\nwant %s", got[i], want[i])
		}
	}
}
