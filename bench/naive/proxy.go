package naive

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"
)

// Options of the proxy.
type Options struct {
	Listen          string   // address:port
	CertPEM, KeyPEM []byte   // towards clients; empty: plain
	Backends        []string // account number N goes to backend N modulo their number
	BackendTLS      bool
	BackendPin      []byte // SHA-256 of the backends' certificate (DER)
	BackendName     string // for SNI
}

// Proxy accepts until it is closed.
type Proxy struct {
	ln       net.Listener
	server   *tls.Config // nil: plain
	client   *tls.Config // nil: plain
	backends []string
	sessions sync.WaitGroup
}

// Serve starts a proxy.
func Serve(o Options) (*Proxy, error) {
	p := &Proxy{backends: o.Backends}
	if len(o.CertPEM) > 0 {
		cert, err := tls.X509KeyPair(o.CertPEM, o.KeyPEM)
		if err != nil {
			return nil, err
		}
		p.server = &tls.Config{Certificates: []tls.Certificate{cert}}
	}
	if o.BackendTLS {
		p.client = pinned(o.BackendPin, o.BackendName)
	}
	var err error
	if p.ln, err = net.Listen("tcp", o.Listen); err != nil {
		return nil, err
	}
	p.sessions.Add(1)
	go p.accept() // ends with Close
	return p, nil
}

// pinned trusts one certificate and no other, and resumes sessions.
func pinned(pin []byte, name string) *tls.Config {
	return &tls.Config{
		ServerName:         name,
		InsecureSkipVerify: true, // the pin replaces chain, name and expiry
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 || sum(s.PeerCertificates[0]) != string(pin) {
				return errors.New("the backend's certificate is not the pinned one")
			}
			return nil
		},
		ClientSessionCache: tls.NewLRUClientSessionCache(64),
		// As mailsplice does by default (SPEC 2.4, tls_post_quantum).
		CurvePreferences: []tls.CurveID{tls.X25519, tls.CurveP256, tls.CurveP384},
	}
}

func sum(c *x509.Certificate) string {
	s := sha256.Sum256(c.Raw)
	return string(s[:])
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.ln.Addr().String() }

// Close stops accepting; sessions end with their peers.
func (p *Proxy) Close() error { return p.ln.Close() }

func (p *Proxy) accept() {
	defer p.sessions.Done()
	for {
		c, err := p.ln.Accept()
		if err != nil {
			return
		}
		p.sessions.Add(1)
		go p.session(c) // ends with one of its connections
	}
}

func (p *Proxy) session(c net.Conn) {
	defer p.sessions.Done()
	defer c.Close()
	if p.server != nil {
		secure := tls.Server(c, p.server)
		if secure.Handshake() != nil {
			return
		}
		c = secure
	}
	joined, err := p.dialogue(c)
	if err != nil {
		return
	}
	defer joined.backend.Close()
	joined.copy()
}

func (p *Proxy) dial(account string) (net.Conn, error) {
	addr := p.backends[accountNumber(account)%len(p.backends)]
	c, err := net.Dial("tcp", addr)
	if err != nil || p.client == nil {
		return c, err
	}
	secure := tls.Client(c, p.client)
	if err := secure.Handshake(); err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}

// accountNumber is the digits of an account as a number.
func accountNumber(account string) (n int) {
	for _, c := range []byte(account) {
		if c >= '0' && c <= '9' {
			n = (n*10 + int(c-'0')) % 1_000_000_000
		}
	}
	return n
}
