package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const adminToken = "0123456789abcdef0123456789abcdef-ctl"

// fakeAdmin answers as SPEC 8 says.
type fakeAdmin struct {
	t      *testing.T
	server *httptest.Server

	mu       sync.Mutex
	calls    []string // method, path, query
	body     string   // of the last call that had one
	tokens   []string
	mappings map[string]string
	looks    int                                  // of /metrics
	down     bool                                 // the destination "new"
	say      map[string]func(http.ResponseWriter) // instead, by "METHOD /path"
}

// newFakeAdmin listens on an address of loopback, with the certificate, or without TLS.
func newFakeAdmin(t *testing.T, listen string, cert *tls.Certificate) *fakeAdmin {
	t.Helper()
	f := &fakeAdmin{t: t, mappings: map[string]string{}, say: map[string]func(http.ResponseWriter){}}
	f.server = httptest.NewUnstartedServer(f)
	f.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	f.server.Listener.Close()
	f.server.Listener = ln
	if cert == nil {
		f.server.Start()
	} else {
		f.server.TLS = &tls.Config{Certificates: []tls.Certificate{*cert}}
		f.server.StartTLS()
	}
	t.Cleanup(f.server.Close)
	return f
}

func (f *fakeAdmin) addr() netip.AddrPort {
	return netip.MustParseAddrPort(f.server.Listener.Addr().String())
}

// answers makes it answer a call with a status and a body.
func (f *fakeAdmin) answers(call string, status int, body string, headers ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.say[call] = func(w http.ResponseWriter) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

// called is every call since the last time it was asked.
func (f *fakeAdmin) called() (calls []string, body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	calls, body = f.calls, f.body
	f.calls, f.body = nil, ""
	return calls, body
}

func (f *fakeAdmin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	defer f.mu.Unlock()
	line := r.Method + " " + r.URL.Path
	f.calls = append(f.calls, strings.TrimSuffix(line+"?"+r.URL.RawQuery, "?"))
	if len(body) > 0 {
		f.body = string(body)
	}
	f.tokens = append(f.tokens, r.Header.Get("Authorization"))
	say := f.say[line]
	switch {
	case say != nil:
		say(w)
	case line == "GET /healthz":
		io.WriteString(w, "ok")
	case r.Header.Get("Authorization") != "Bearer "+adminToken:
		fail(w, http.StatusUnauthorized, "missing or wrong bearer token")
	default:
		f.answer(w, r, line)
	}
}

func fail(w http.ResponseWriter, status int, text string) {
	w.WriteHeader(status)
	reply(w, map[string]any{"error": text})
}

func reply(w http.ResponseWriter, v any) { json.NewEncoder(w).Encode(v) }

const fakeStats = `{"cache_hits":98,"cache_misses":2,"hit_rate_pct":98,"cache_entries":12,"cache_evictions":0,"store_errors":1,` +
	`"active_connections":1234,"preauth_connections":5,"logins_in_progress":2,"uptime_s":93784,"draining":false,"odd":"new\u001b[2J","list":[1]}`

const fakeConnections = `{"connections":[{"id":"a1","identifier":"alice@example.org","protocol":"imap","listener":"imaps","destination":"legacy",` +
	`"client":"203.0.113.7:4567","since":"2026-07-01T10:00:00Z","bytes_in":1500,"bytes_out":2500000,"client_tls":"TLS 1.3 TLS_AES_128_GCM_SHA256",` +
	`"backend_tls":"","lane":"record","master":false},{"id":"a2","identifier":"bob\u0007@example.org","protocol":"pop3","listener":"pop3s","destination":"new",` +
	`"client":"[2001:db8::7]:1","since":"2026-07-01T10:00:00Z","bytes_in":0,"bytes_out":0,"client_tls":"","backend_tls":"","lane":"plain","master":true}],"total":1234}`

// answer carries out a call with the right token.
func (f *fakeAdmin) answer(w http.ResponseWriter, r *http.Request, line string) {
	q := r.URL.Query() // decodes `+` as a blank: an identifier that arrives with one was not encoded for SPEC 8
	id := q.Get("identifier")
	switch line {
	case "GET /stats":
		io.WriteString(w, fakeStats)
	case "GET /destinations":
		reply(w, map[string]any{"destinations": []map[string]any{
			{"destination": "legacy", "consecutive_failures": 2, "failure_sources": 1, "host_level_failure": false, "down": false, "down_for_s": 0, "sessions": 1200},
			{"destination": "new", "consecutive_failures": 7, "failure_sources": 3, "host_level_failure": true, "down": f.down, "down_for_s": 12.4, "sessions": 34},
		}})
	case "POST /destinations/reset":
		reply(w, map[string]any{"destination": q.Get("destination"), "reset": true})
	case "GET /metrics":
		f.looks++
		io.WriteString(w, fakeMetrics(f.looks))
	case "GET /connections":
		io.WriteString(w, fakeConnections)
	case "GET /mappings":
		d, ok := f.mappings[id]
		if !ok {
			d = "legacy"
		}
		reply(w, map[string]any{"identifier": id, "normalized": id, "destination": d, "routed_to_default": !ok, "cached": ok})
	case "PUT /mappings":
		f.mappings[id] = q.Get("destination")
		answer := map[string]any{"identifier": id, "normalized": id, "destination": q.Get("destination")}
		if q.Get("kick") == "true" {
			answer["kicked"] = 3
		}
		reply(w, answer)
	case "DELETE /mappings":
		_, existed := f.mappings[id]
		delete(f.mappings, id)
		reply(w, map[string]any{"identifier": id, "normalized": id, "existed": existed})
	case "POST /mappings/bulk":
		reply(w, map[string]any{"written": 1, "removed": 1, "kicked": 1})
	case "GET /mappings/export":
		for _, id := range slices.Sorted(maps.Keys(f.mappings)) {
			fmt.Fprintf(w, "%s\t%s\n", id, f.mappings[id])
		}
	case "POST /mappings/reload":
		reply(w, map[string]any{"reloaded": true, "added": 1, "changed": 2, "removed": 3})
	case "POST /config/reload":
		reply(w, map[string]any{"reloaded": true, "restart_needed": []string{"threads", "ktls"}})
	case "POST /connections/kick":
		reply(w, map[string]any{"kicked": 2})
	case "POST /connections/hold", "POST /connections/delay":
		seconds := json.Number(q.Get("seconds"))
		if n, _ := seconds.Int64(); n > 300 {
			seconds = "300"
		}
		reply(w, map[string]any{"identifier": id, "seconds": seconds})
	default:
		fail(w, http.StatusNotFound, "no such call")
	}
}

// fakeMetrics are counters that have grown by a hundred logins since the look before.
func fakeMetrics(look int) string {
	return fmt.Sprintf(`# TYPE mailsplice_sessions gauge
mailsplice_sessions{protocol="imap",destination="legacy",lane="record"} 1000
mailsplice_sessions{protocol="imap",destination="legacy",lane="conn"} 100
mailsplice_sessions{protocol="pop3",destination="legacy",lane="plain"} 100
mailsplice_sessions{protocol="imap",destination="new",lane="record"} 34
mailsplice_logins_total{protocol="imap",destination="legacy",result="accepted"} %[1]d
mailsplice_logins_total{protocol="imap",destination="new",result="unavailable"} %[1]d
mailsplice_logins_total{protocol="imap",destination="",result="refused"} %[1]d
mailsplice_bytes_total{protocol="imap",direction="in"} %[1]d000
mailsplice_bytes_total{protocol="imap",direction="out"} %[1]d000000
mailsplice_connections_refused_total{listener="imaps",reason="max_preauth"} 4
process_open_fds 12
`, 100*look)
}

// certificate makes one for a name, self-signed, or issued by another.
func certificate(t *testing.T, name string, issuer ...*tls.Certificate) (*tls.Certificate, []byte, []byte) {
	return certificateUntil(t, name, time.Now().Add(90*24*time.Hour), issuer...)
}

func certificateUntil(t *testing.T, name string, until time.Time, issuer ...*tls.Certificate) (*tls.Certificate, []byte, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: until, IsCA: true, BasicConstraintsValid: true}
	parent, signer := template, any(key)
	for _, i := range issuer {
		if parent, err = x509.ParseCertificate(i.Certificate[0]); err != nil {
			t.Fatal(err)
		}
		signer = i.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret})
}

// desk is an operator's place: a folder with a configuration, and the fake behind its [admin].
type desk struct {
	t    *testing.T
	dir  string
	fake *fakeAdmin
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, dir: t.TempDir()}
	cert, certPEM, keyPEM := certificate(t, "mail.example.org")
	d.fake = newFakeAdmin(t, "127.0.0.1:0", cert)
	d.write("cert.pem", string(certPEM))
	d.write("key.pem", string(keyPEM))
	d.write("token", adminToken+"\n")
	d.write("conf", d.conf(d.fake.addr().String()))
	for _, name := range []string{"MAILSPLICE_CONFIG", "PROXY_CONFIG", "MAILSPLICE_ADMIN_TOKEN", "PROXY_ADMIN_TOKEN"} {
		t.Setenv(name, "")
	}
	return d
}

// conf is a configuration that names the folder's certificate and token, and would not be served: it need not be valid.
func (d *desk) conf(bind string) string {
	return fmt.Sprintf(`[tls.certificate.main]
cert = "cert.pem"
key = "key.pem"
default = true
[destination.legacy]
[destination.new]
[admin]
bind = %q
bearer_token_file = "token"
`, bind)
}

func (d *desk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *desk) write(name, text string) {
	d.t.Helper()
	if err := os.WriteFile(d.path(name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// run is the command line in this process. Words of args that begin with @ are files of the folder.
func (d *desk) run(args ...string) (code int, out, errOut string) {
	d.t.Helper()
	for i, a := range args {
		if name, ok := strings.CutPrefix(a, "@"); ok {
			args[i] = d.path(name)
		}
	}
	root, stdout, stderr := newRoot(), &bytes.Buffer{}, &bytes.Buffer{}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.SetIn(strings.NewReader("bob@example.org\tnew\n"))
	code = execute(root, args)
	if all := stdout.String() + stderr.String(); strings.Contains(all, adminToken) {
		d.t.Errorf("%q: the token is in\n%s", args, all)
	}
	return code, stdout.String(), stderr.String()
}
