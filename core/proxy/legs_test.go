package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"mailsplice/core/bridge"
	"mailsplice/core/mailfake"
)

// legs is how the connections of a rig are encrypted, in the words of the configuration. cbc: by TLS 1.2 and suites that
// stay with crypto/tls.
type legs struct {
	listener, legacy, new string
	cbc                   bool
}

// mode is what the whole suite runs with: each test says the same of a session whatever carries it.
var mode legs

// modes are the reference migration's (in the clear here); TLS everywhere, by STARTTLS to one backend, implicit to the
// other; and the same the other way about with all legs in lane conn.
var modes = []legs{{"plain", "plain", "plain", false}, {"implicit", "starttls", "implicit", false}, {"starttls", "implicit", "starttls", true}}

func (l legs) String() string {
	text := l.listener + "-" + l.legacy + "-" + l.new
	if l.cbc {
		text += "-cbc"
	}
	return text
}

// lane is what sessions run on in this mode.
func (l legs) lane() string {
	switch {
	case l.cbc:
		return "conn"
	case l.listener == "plain":
		return "plain"
	}
	return "record"
}

// bulkLane is where a session is that has moved much.
func (l legs) bulkLane() string {
	switch {
	case l.lane() == "plain":
		return "splice"
	case l.lane() == "record" && kernel().Any():
		return "ktls"
	}
	return l.lane()
}

// transport is what the backend is told of the client's leg.
func (l legs) transport() string {
	if l.listener == "plain" {
		return "insecure"
	}
	return "TLS"
}

// suites makes a peer of the proxy one that takes part in the mode's lane.
func (l legs) suites(c *tls.Config) *tls.Config {
	if l.cbc {
		c.MaxVersion, c.CipherSuites = tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}
	}
	return c
}

// clientTLS is how clients shake hands: the proxy shows a certificate made at its start.
func (l legs) clientTLS() *tls.Config { return clientSides[l.cbc]() }

var clientSides = map[bool]func() *tls.Config{false: sync.OnceValue(newClientTLS), true: sync.OnceValue(newClientTLS)}

func newClientTLS() *tls.Config {
	return mode.suites(&tls.Config{InsecureSkipVerify: true, ServerName: "mail.example.test", ClientSessionCache: tls.NewLRUClientSessionCache(8)})
}

// client is how a client comes in.
func (r *rig) client(o mailfake.ClientOptions) mailfake.ClientOptions {
	if r.listener == "implicit" && o.TLS == nil {
		o.TLS = mode.clientTLS()
	}
	return o
}

// backendCertificate is what all backends show, made once.
var backendCertificate = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"backend.test"}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func pin(c tls.Certificate) string { return fmt.Sprintf("%x", sha256.Sum256(c.Certificate[0])) }

// costlier is the lane of a session between two legs.
func costlier(legs ...string) bridge.Lane {
	switch {
	case !slices.ContainsFunc(legs, func(l string) bool { return l != "plain" }):
		return bridge.LanePlain
	case mode.cbc:
		return bridge.LaneConn
	}
	return bridge.LaneRecord
}

func protocolNamed(name string) mailfake.Protocol {
	for p := mailfake.IMAP; p <= mailfake.LMTP; p++ {
		if p.String() == name {
			return p
		}
	}
	return mailfake.IMAP
}
