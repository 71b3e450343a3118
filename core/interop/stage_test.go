package interop

import (
	"crypto/rand"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"mailsplice/core/mailfake"
	"mailsplice/core/mailfake/port"
)

// The last octet of each address of a stage; those of clients are given out in turn.
const (
	legacyOctet = 10
	newOctet    = 20
	downOctet   = 30
	peerOctet   = 40
	proxyOctet  = 50
	ownOctet    = 9   // the proxy's own address towards the servers
	clientNet   = 100 // added to the third octet
)

// The programs that the suite drives; each must be there, and each kind of case must have run.
var (
	programs = []string{"dovecot", "curl", "mbsync", "python3", "openssl", "gnutls-cli"}
	kinds    = []string{"curl", "mbsync", "imaplib", "raw"}
	tlsKinds = []string{"openssl", "gnutls"} // of the run with TLS, besides
)

// accountsPerHome bounds the cases that one stage can serve.
const accountsPerHome = 90

// specialPassword needs quoting in IMAP, in curl's and in mbsync's configuration.
const specialPassword = `sp ace"quo\te%42`

// stage is one set of servers and the entrance to them.
type stage struct {
	root     string
	key      tokenKey
	servers  map[string]*dovecot
	proxy    *proxy // nil: straight at the servers
	relay    *relay // in front of new, without proxy
	fake     *mailfake.Backend
	down     netip.AddrPort
	peer     netip.AddrPort
	accounts []account // not yet used
	sources  uint8     // client addresses given out
	counts   map[string]int

	net  byte      // third octet of its addresses, its own: stages may run side by side
	tls  bool      // on every leg
	door door      // where the present scene's clients come in
	seen []account // whom the present scene has seen logged in

	lanes map[string]string // of accounts whose suite our record layer does not do
}

// wanted skips unless the suite was asked for.
func wanted(t *testing.T) {
	t.Helper()
	if os.Getenv("MAILSPLICE_INTEROP") != "1" {
		t.Skip("SKIPPED, NOTHING WAS TESTED: the interop suite needs root on Debian and MAILSPLICE_INTEROP=1 (make interop)")
	}
}

// newStage starts two Dovecots, for TLS or for none. Everything is gone after the test.
func newStage(t *testing.T, net byte, first door) *stage {
	t.Helper()
	for _, p := range programs {
		if err := lookPath(p); err != nil {
			t.Fatalf("%v; core/interop/install.sh installs it", err)
		}
	}
	// Not t.TempDir: Unix sockets need a short path, and Dovecot's users must be able to walk to it.
	root, err := os.MkdirTemp("/tmp", "mailsplice-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &stage{root: root, servers: map[string]*dovecot{}, counts: map[string]int{}, lanes: map[string]string{}, accounts: makeAccounts(bothHomes...),
		net: net, tls: first != plain, door: first}
	_, _ = rand.Read(s.key[:]) // never fails
	if s.down, err = port.Free(s.ip(downOctet)); err != nil {
		t.Fatal(err)
	}
	if s.peer, err = port.Free(s.ip(peerOctet)); err != nil {
		t.Fatal(err)
	}
	for _, o := range []dovecotOptions{{name: "legacy", ip: s.ip(legacyOctet)}, {name: "new", ip: s.ip(newOctet), proxied: true}} {
		o.root, o.accounts, o.key, o.tls = root, s.accounts, &s.key, s.tls
		d, err := startDovecot(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.stop)
		s.servers[o.name] = d
	}
	s.accounts = append(s.accounts, makeAccounts("down")...) // these exist nowhere
	if s.tls {
		s.accounts = append(s.accounts, makeAccounts("peer")...)
	}
	return s
}

// ip is an address of the stage.
func (s *stage) ip(last byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, s.net, last}) }

// direct makes the servers themselves the entrance.
func (s *stage) direct(t *testing.T) {
	t.Helper()
	r, err := startRelay(s.ip(proxyOctet), s.servers["new"].addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.stop)
	s.relay = r
}

// throughProxy starts the proxy under test as the entrance.
func (s *stage) throughProxy(t *testing.T) {
	t.Helper()
	p, err := startProxy(proxyOptions{binary: os.Getenv("MAILSPLICE_BIN"), root: s.root, ip: s.ip(proxyOctet), source: s.ip(ownOctet),
		legacy: s.servers["legacy"], new: s.servers["new"], down: s.down, peer: s.peer, tls: s.tls, accounts: s.accounts})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.stop)
	s.proxy = p
}

// makeAccounts names accounts for homes.
func makeAccounts(homes ...string) []account {
	var out []account
	for _, home := range homes {
		for i := range accountsPerHome {
			name := fmt.Sprintf("%s%02d@example.org", home, i)
			out = append(out, account{name, "secret-" + name, home})
			if i%2 == 1 {
				out[len(out)-1].password = specialPassword
			}
		}
	}
	return out
}

// take hands out an account that nobody has used yet.
func (s *stage) take(t *testing.T, home string) account {
	t.Helper()
	i := slices.IndexFunc(s.accounts, func(a account) bool { return a.home == home })
	if i < 0 {
		t.Fatalf("all accounts of %s are used up", home)
	}
	a := s.accounts[i]
	s.accounts = slices.Delete(s.accounts, i, i+1)
	return a
}

// source hands out a client address of its own.
func (s *stage) source() netip.Addr {
	s.sources++
	return netip.AddrFrom4([4]byte{127, 0, clientNet + s.net, s.sources})
}

// entrance is where a client of an account with that home connects.
func (s *stage) entrance(home string) netip.AddrPort {
	switch {
	case s.fake != nil:
		return s.fake.Addr()
	case s.proxy != nil:
		return s.proxy.doors[s.door]
	case home == "new":
		return s.relay.addr()
	default:
		return s.servers[home].addr
	}
}

func (s *stage) token(name string) string { return s.key.token(name, time.Now().Add(time.Hour)) }

func (s *stage) expiredToken(name string) string {
	return s.key.token(name, time.Now().Add(-10*time.Minute))
}

// dial connects a raw client from source, and takes it into TLS if the door wants that.
func (s *stage) dial(t *testing.T, home string, source netip.Addr) *mailfake.Client {
	t.Helper()
	o := mailfake.ClientOptions{Source: source, Timeout: 30 * time.Second}
	if s.door == implicit {
		o.TLS = s.proxy.trust(t)
	}
	c, err := mailfake.DialWith(s.entrance(home).String(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if s.door != starttls {
		return c
	}
	for _, word := range []string{" STARTTLS", " LOGINDISABLED"} {
		if !strings.Contains(c.Greeting, word) {
			t.Errorf("got greeting %q, want it to say%s", c.Greeting, word)
		}
	}
	if _, err = c.Must("STARTTLS"); err == nil {
		err = c.TLS(s.proxy.trust(t))
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// loggedIn wants server's log to show a login of a by method, with the client's real address, the address it connected
// to, and, through the proxy, the proxy's own as that of the TCP connection.
func (s *stage) loggedIn(t *testing.T, server string, a account, method string, client netip.Addr) {
	t.Helper()
	words := append([]string{"Login: user=<" + a.name + ">", "method=" + method + ","}, s.addresses(server, client)...)
	switch {
	case s.tls && server == "new": // the header says that the client's leg is in TLS, and Dovecot takes that for an answer
		words = append(words, "tls=<(proxied)>")
	case s.tls:
		words = append(words, "tls=<TLSv1.3 ")
	}
	if _, err := s.servers[server].logged(words...); err != nil {
		t.Error(err)
	}
	s.seen = append(s.seen, a)
}

// addresses are the words about addresses in a login line.
func (s *stage) addresses(server string, client netip.Addr) []string {
	words := []string{
		fmt.Sprintf("rip=%s,", client),
		fmt.Sprintf("lip=%s,", s.entrance(server).Addr()),
		fmt.Sprintf("lport=%d,", s.entrance(server).Port()),
	}
	if s.proxy != nil {
		words = append(words, fmt.Sprintf("real_rip=%s,", s.ip(ownOctet)))
	}
	return words
}

// refusedThere wants server's authentication log to show a failure of a, with the client's real address.
func (s *stage) refusedThere(t *testing.T, server string, a account, client netip.Addr) {
	t.Helper()
	if _, err := s.servers[server].logged(fmt.Sprintf("(%s,%s,<", a.name, client)); err != nil {
		t.Error(err)
	}
}

// scene is one case of the suite, run once for each home.
type scene struct {
	kind, name string
	homes      []string // nil: legacy and new
	door       door     // empty: by turns
	proxied    bool     // makes sense through the proxy only
	run        func(t *testing.T, s *stage, home string)
}

var bothHomes = []string{"legacy", "new"}

// play runs every scene and counts.
func (s *stage) play(t *testing.T, scenes []scene) {
	t.Helper()
	for i, sc := range scenes {
		if sc.proxied && s.proxy == nil {
			continue
		}
		homes := sc.homes
		if homes == nil {
			homes = bothHomes
		}
		for j, home := range homes {
			name := sc.kind + " " + sc.name + " " + home
			if s.tls { // each scene by both doors, each home by both doors
				if s.door = sc.door; s.door == "" {
					s.door = []door{implicit, starttls}[(i+j)%2]
				}
				name += " by " + string(s.door)
			}
			if t.Run(name, func(t *testing.T) { s.act(t, sc, home) }) {
				s.counts[sc.kind]++
				fmt.Printf("case %s ok\n", name)
			}
		}
	}
}

// act runs one scene, and when all its clients are gone looks at what their sessions ran on.
func (s *stage) act(t *testing.T, sc scene, home string) {
	s.seen = nil
	t.Cleanup(func() { s.checkLanes(t) }) // behind those that sc.run registers
	sc.run(t, s, home)
}

// sum prints how many cases of each kind passed; none of a kind is a failure.
func (s *stage) sum(t *testing.T, entrance string) {
	t.Helper()
	total := 0
	var parts []string
	want := kinds
	if s.tls {
		want = slices.Concat(kinds, tlsKinds)
	}
	for _, k := range want {
		n := s.counts[k]
		total += n
		parts = append(parts, fmt.Sprintf("%s %d", k, n))
		if n == 0 {
			t.Errorf("no case of kind %s has passed", k)
		}
	}
	fmt.Printf("interop: %s: %d cases: %s\n", entrance, total, strings.Join(parts, ", "))
}

// autopsy shows the ends of all logs after a failure.
func (s *stage) autopsy(t *testing.T) {
	if !t.Failed() {
		return
	}
	for name, d := range s.servers {
		t.Logf("log of %s:\n%s", name, tail(d.logText(), 40))
	}
	if s.proxy != nil {
		t.Logf("log of the proxy:\n%s", tail(s.proxy.logText(), 80))
	}
}

func tail(text string, n int) string {
	lines := strings.SplitAfter(text, "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
