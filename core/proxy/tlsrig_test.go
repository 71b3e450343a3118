package proxy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"
	"time"
	_ "unsafe" // for linkname

	"mailsplice/core/mailfake"
)

// keys are one of each type (SPEC 2.2), made once: an RSA key takes its time.
var keys = sync.OnceValue(func() (k struct{ ecdsa, rsa crypto.Signer }) {
	var err error
	if k.ecdsa, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err == nil {
		k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	if err != nil {
		panic(err)
	}
	return k
})

// issue makes a certificate for names that signs itself.
func issue(key crypto.Signer, names ...string) tls.Certificate {
	now := time.Now()
	template := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// pemOf is a certificate and its key as files hold them.
func pemOf(c tls.Certificate) (cert, key string) {
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		panic(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// crossed is the legs of a TLS test: one way in each mode, so that STARTTLS and implicit TLS are both seen on both legs.
func crossed() legs {
	if mode.listener == "plain" {
		return legs{listener: "starttls", legacy: "implicit"}
	}
	return legs{listener: "implicit", legacy: "starttls"}
}

// anybody is a client's settings that accept every certificate.
func anybody(change ...func(*tls.Config)) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.test"}
	for _, f := range change {
		f(c)
	}
	return c
}

// enter connects to a listener and takes the connection into TLS as the listener wants it.
func (r *rig) enter(listener string, conf *tls.Config) (*mailfake.Client, error) {
	r.t.Helper()
	o := mailfake.ClientOptions{Timeout: patience}
	if listener == "implicit" {
		o.TLS = conf
	}
	c, err := mailfake.DialWith(r.addr(), o)
	if err != nil {
		return nil, err
	}
	r.clients = append(r.clients, c)
	if listener != "starttls" {
		return c, nil
	}
	if _, err = c.Must("STARTTLS"); err == nil {
		err = c.TLS(conf)
	}
	return c, err
}

// secure is enter that must work, by the rig's own listener.
func (r *rig) secure(conf *tls.Config) *mailfake.Client {
	r.t.Helper()
	c, err := r.enter(r.listener, conf)
	if err != nil {
		r.t.Fatalf("%v\n%s", err, r.log)
	}
	return c
}

// lane asserts how many sessions there are at a destination, all on one lane.
func (r *rig) lane(destination, lane string, want int) {
	r.t.Helper()
	for _, l := range lanes {
		n := 0
		if l == lane {
			n = want
		}
		if got := r.metric(`sessions{protocol="imap",destination="` + destination + `",lane="` + l + `"}`); got != n {
			r.t.Errorf("sessions on lane %s: got %d, want %d", l, got, n)
		}
	}
}

// last is the newest session of a backend.
func last(t *testing.T, b *mailfake.Backend) mailfake.Record {
	t.Helper()
	all := b.Sessions()
	if len(all) == 0 {
		t.Fatal("the backend has seen nobody")
	}
	return all[len(all)-1]
}

// crypto/tls cannot be told which TLS 1.3 suite to use, but leaves these lists open to others.
//
//go:linkname suites13 crypto/tls.defaultCipherSuitesTLS13
var suites13 []uint16

//go:linkname suites13NoAES crypto/tls.defaultCipherSuitesTLS13NoAES
var suites13NoAES []uint16

var default13, default13NoAES = suites13, suites13NoAES

// only13 makes whoever shakes hands next offer and choose one suite of TLS 1.3; 0: as usual.
func (r *rig) only13(id uint16) {
	r.settle()
	suites13, suites13NoAES = []uint16{id}, []uint16{id}
	if id == 0 {
		suites13, suites13NoAES = default13, default13NoAES
	}
	r.settle()
}

// settle orders what this goroutine does between all handshakes before and all after it.
func (r *rig) settle() {
	for _, l := range r.proxy.engine.Loops() {
		done := make(chan struct{})
		l.Do(func() { close(done) })
		<-done
	}
	r.legacy.Counts()
	r.new.Counts()
}
