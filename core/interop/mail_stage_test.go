package interop

import (
	"fmt"
	"mailsplice/core/mailfake/port"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// mailPrograms are what the mail suite drives; each must be there.
var mailPrograms = []string{"dovecot", postfixMasterProgram, "curl", "swaks", "msmtp", "fetchmail", "sieve-connect", "python3"}

// mailKinds must each have cases.
var mailKinds = []string{"curl", "swaks", "msmtp", "fetchmail", "sieve-connect", "poplib", "smtplib", "raw"}

// references are the listeners of the reference scenario, and which service of a mail host stands for each when clients go
// straight to it.
var references = map[string]string{"imap": "imaps", "imap-starttls": "imap", "pop3": "pop3s", "submission": "submission",
	"submissions": "submissions", "managesieve": "managesieve"}

// behind and told are listeners for clients that another proxy announces, by a PROXY header or in the protocol, and what
// they speak.
var (
	behind = map[string]string{"behind-imap": "imap", "behind-pop3": "pop3", "behind-submission": "submission", "behind-managesieve": "managesieve"}
	told   = map[string]string{"told-imap": "imap", "told-pop3": "pop3", "told-submission": "submission", "told-managesieve": "managesieve"}
)

// mailStage is a set of mail hosts and the entrance to them.
type mailStage struct {
	root     string
	hosts    map[string]*mailHost
	proxy    *mailProxy        // nil: straight at the hosts
	relays   map[string]*relay // in front of stalwart's services, without proxy
	down     netip.AddrPort
	accounts []account // not yet used
	net      byte      // third octet of its addresses, its own: stages may run side by side
	sources  int       // client addresses given out
	letters  int       // sent
	counts   map[string]int
}

// newMailStage starts both mail hosts, with so many accounts for each home; every visit uses up one. Everything is gone after
// the test.
func newMailStage(t *testing.T, net byte, accounts int) *mailStage {
	t.Helper()
	for _, p := range mailPrograms {
		if err := lookPath(p); err != nil {
			t.Fatalf("%v; core/interop/install.sh installs it", err)
		}
	}
	// Not t.TempDir: Unix sockets need a short path, and the servers' users must be able to walk to it.
	root, err := os.MkdirTemp("/tmp", "mailsplice-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &mailStage{root: root, net: net, relays: map[string]*relay{}, counts: map[string]int{}, hosts: map[string]*mailHost{}}
	s.hosts["legacy"] = &mailHost{Name: "legacy", Host: "mail.legacy.example.com", IP: s.ip(legacyOctet), Front: s.ip(proxyOctet)}
	s.hosts["stalwart"] = &mailHost{Name: "stalwart", Host: "mail.new.example.com", IP: s.ip(newOctet), Front: s.ip(proxyOctet), Proxied: true}
	if s.down, err = port.Free(s.ip(downOctet)); err != nil {
		t.Fatal(err)
	}
	for _, home := range []string{"legacy", "stalwart", "down"} {
		s.accounts = append(s.accounts, mailAccountsOf(home, accounts)...)
	}
	for _, h := range s.hosts {
		t.Cleanup(h.stop)
		if err := startMailHost(h, root, s.accounts); err != nil {
			t.Fatal(err)
		}
	}
	for _, h := range s.hosts {
		if err := h.ready(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// ip is an address of the stage.
func (s *mailStage) ip(last byte) netip.Addr { return netip.AddrFrom4([4]byte{127, 0, s.net, last}) }

// front is the address of another proxy, which announces clients.
func (s *mailStage) front() netip.Addr { return s.ip(peerOctet) }

func mailAccountsOf(home string, n int) (list []account) {
	for i := range n {
		name := fmt.Sprintf("%s%03d@%s", home, i, mailDomain)
		password := "secret-" + name
		if i%2 == 1 {
			password = specialPassword
		}
		list = append(list, account{name, password, home})
	}
	return list
}

// straight makes the hosts themselves the entrance.
func (s *mailStage) straight(t *testing.T) {
	t.Helper()
	for _, service := range services {
		r, err := startRelay(s.ip(proxyOctet), s.hosts["stalwart"].at(service))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(r.stop)
		s.relays[service] = r
	}
}

// through makes a proxy the entrance. Text is a template, listeners are those in it.
func (s *mailStage) through(t *testing.T, name, text string, listeners []string, facts map[string]any, mappings []byte) {
	t.Helper()
	binary, err := buildProxy(s.root, os.Getenv("MAILSPLICE_BIN"))
	if err != nil {
		t.Fatal(err)
	}
	facts["Legacy"], facts["Stalwart"] = s.hosts["legacy"], s.hosts["stalwart"]
	s.proxy, err = startMailProxy(mailProxyOptions{root: s.root, name: name, ip: s.ip(proxyOctet), binary: binary, text: text, listeners: listeners,
		facts: facts, mappings: string(mappings), roots: s.hosts["stalwart"].path("cert.pem")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.proxy.stop)
}

// take hands out an account that nobody has used yet.
func (s *mailStage) take(t *testing.T, home string) account {
	t.Helper()
	i := slices.IndexFunc(s.accounts, func(a account) bool { return a.home == home })
	if i < 0 {
		t.Fatalf("all accounts of %s are used up", home)
	}
	a := s.accounts[i]
	s.accounts = slices.Delete(s.accounts, i, i+1)
	return a
}

// source hands out a client address of its own; of IPv6 there is only one on loopback.
func (s *mailStage) source(v6 bool) netip.Addr {
	if v6 {
		return netip.IPv6Loopback()
	}
	s.sources++
	return netip.AddrFrom4([4]byte{127, byte(1 + s.sources/250), s.net, byte(1 + s.sources%250)})
}

// at is where a client from source comes in for an account with that home; entrance is a listener.
func (s *mailStage) at(entrance, home string, source netip.Addr) netip.AddrPort {
	switch {
	case s.proxy != nil:
		return s.proxy.listeners[entrance].at(source)
	case home == "stalwart":
		return s.relays[references[entrance]].addr()
	default:
		return s.hosts[home].at(references[entrance])
	}
}

// roots is the file with the certificate that clients at the entrance of home must see.
func (s *mailStage) roots(home string) string {
	if s.proxy != nil {
		return s.proxy.path("cert.pem")
	}
	return s.hosts[home].path("cert.pem")
}

// certName is the name in it.
func (s *mailStage) certName(home string) string {
	if s.proxy != nil {
		return mailProxyHost
	}
	return s.hosts[home].Host
}

// mailScene is one case, played at each home; clients are of either family through the proxy, and IPv4 else.
type mailScene struct {
	kind, name string
	homes      []string // nil: legacy and stalwart
	proxied    bool     // makes sense through the proxy only
	families   bool     // at each home in both families, rather than at one in the one and at the other in the other
	unbound    bool     // the client program cannot choose its address: it is 127.0.0.1 or ::1
	run        func(v *visit)
}

// visit is one run of a scene: a client of an account that nobody has used before.
type visit struct {
	*testing.T
	account
	s      *mailStage
	source netip.Addr
	marks  map[*program]int // where the logs ended when the visit began
}

// visit begins a visit.
func (s *mailStage) visit(t *testing.T, a account, source netip.Addr) *visit {
	v := &visit{T: t, account: a, s: s, source: source, marks: map[*program]int{}}
	for _, h := range s.hosts {
		for _, p := range []*program{h.dovecot, h.postfix} {
			v.marks[p] = len(p.logText())
		}
	}
	return v
}

var bothMailHomes = []string{"legacy", "stalwart"}

// play runs scenes and counts.
func (s *mailStage) play(t *testing.T, scenes []mailScene) {
	t.Helper()
	for i, sc := range scenes {
		if sc.proxied && s.proxy == nil {
			continue
		}
		homes := sc.homes
		if homes == nil {
			homes = bothMailHomes
		}
		for j, home := range homes {
			if s.proxy == nil && j != i%len(homes) {
				continue // straight, one home in turn is enough to show that the case is right
			}
			switch {
			case sc.families:
				s.perform(t, sc, home, false)
				s.perform(t, sc, home, true)
			case s.proxy != nil: // each scene in both families, each home too
				s.perform(t, sc, home, (i+j)%2 == 1)
			default:
				s.perform(t, sc, home, false)
			}
		}
	}
}

func (s *mailStage) perform(t *testing.T, sc mailScene, home string, v6 bool) {
	t.Helper()
	family := map[bool]string{false: "IPv4", true: "IPv6"}[v6]
	name := sc.kind + " " + sc.name + " " + home + " " + family
	v := s.visit(t, s.take(t, home), s.source(v6))
	if sc.unbound && !v6 {
		v.source = loopback
	}
	if t.Run(name, func(t *testing.T) { v.T = t; sc.run(v) }) {
		s.counts[sc.kind]++
		fmt.Printf("case %s ok\n", name)
	}
}

// sum prints how many cases of each kind passed; none of a kind is a failure.
func (s *mailStage) sum(t *testing.T, entrance string, kinds []string) {
	t.Helper()
	total := 0
	var parts []string
	for _, k := range kinds {
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
func (s *mailStage) autopsy(t *testing.T) {
	if !t.Failed() {
		return
	}
	for _, h := range s.hosts {
		for _, p := range []*program{h.dovecot, h.postfix} {
			t.Logf("log of %s:\n%s", p.name, tail(p.logText(), 30))
		}
	}
	if s.proxy != nil {
		t.Logf("log of the proxy:\n%s", tail(s.proxy.logText(), 80))
	}
}

// at is where the visitor comes in.
func (v *visit) at(entrance string) netip.AddrPort { return v.s.at(entrance, v.home, v.source) }

func (v *visit) host() *mailHost { return v.s.hosts[v.home] }

func (v *visit) roots() string { return v.s.roots(v.home) }

// subject is one that no letter of the stage had before.
func (v *visit) subject(by string) string {
	v.s.letters++
	return fmt.Sprintf("letter %d by %s", v.s.letters, by)
}

// file makes a file that only its owner reads.
func (v *visit) file(name, text string) string {
	v.Helper()
	path := filepath.Join(v.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		v.Fatal(err)
	}
	return path
}

// loggedIn wants the log of a home to show the visitor's login, with the visitor's address in spite of the proxy.
func (v *visit) loggedIn(home, entrance, method string) {
	v.Helper()
	var more []string
	if protocol := protocolOf(entrance); protocol == "imap" || protocol != "submission" && v.s.hosts[home].Proxied {
		// XCLIENT of Dovecot 2.3 has no words for it
		more = []string{fmt.Sprintf(" lip=%s, lport=%d,", v.at(entrance).Addr(), v.at(entrance).Port())}
	}
	v.announcedAs(home, entrance, method, v.source.String(), more...)
}

// protocolOf is what is spoken at an entrance.
func protocolOf(entrance string) string {
	entrance = strings.TrimPrefix(strings.TrimPrefix(entrance, "behind-"), "told-")
	protocol, _, _ := strings.Cut(entrance, "-")
	if protocol == "submissions" {
		protocol = "submission"
	}
	return protocol
}

// announcedAs is loggedIn for a client at an address that is not the visitor's own, with more words of the line.
func (v *visit) announcedAs(home, entrance, method, client string, more ...string) {
	v.Helper()
	protocol := protocolOf(entrance)
	h, words := v.s.hosts[home], more
	server := h.dovecot
	if protocol == "submission" {
		server = h.postfix
		words = append(words, "sasl_username="+v.name, "client=unknown["+client+"]", "sasl_method="+method)
	} else {
		words = append(words, protocol+"-login: Info: Login: user=<"+v.name+">", "method="+method+",", " rip="+client+",")
		switch {
		case v.s.proxy == nil:
			words = append(words, " TLSv1.3 ")
		case h.Proxied: // the header says that the client's leg is in TLS, and Dovecot takes that for an answer
			words = append(words, " real_rip=127.0.0.1,", " (proxied),")
		default:
			words = append(words, " real_rip=127.0.0.1,", " TLSv1.3 ")
		}
	}
	if err := server.loggedSince(v.marks[server], words...); err != nil {
		v.Error(err)
	}
}

// refusedThere wants the log of the visitor's home to show a failure, with the visitor's address.
func (v *visit) refusedThere(entrance string) {
	v.Helper()
	end := ",<" // a session id follows
	if protocolOf(entrance) == "submission" {
		end = ")"
	}
	server := v.host().dovecot
	if err := server.loggedSince(v.marks[server], fmt.Sprintf("(%s,%s%s", v.name, v.source, end), "mismatch"); err != nil {
		v.Error(err)
	}
}
