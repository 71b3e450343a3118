package config

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type ruleCase struct {
	at, text string
	want     string // how the only problem begins
}

func runErrors(t *testing.T, cases []ruleCase) {
	t.Helper()
	dir := newDir(t)
	for _, tt := range cases {
		_, _, err := Parse([]byte(edit(t, base, tt.at, tt.text)), testOptions(dir))
		got := short(problems(t, err), dir)
		if len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
			t.Errorf("%s\ngot  %s\nwant %s", tt.text, strings.Join(got, "\n     "), tt.want)
		}
	}
}

func runWarnings(t *testing.T, cases []ruleCase, o func(dir string) Options) {
	t.Helper()
	dir := newDir(t)
	for _, tt := range cases {
		_, warnings := mustParse(t, edit(t, base, tt.at, tt.text), o(dir))
		got := short(warnings, dir)
		if len(got) != 1 || !strings.HasPrefix(got[0], tt.want) {
			t.Errorf("%s\ngot  %s\nwant %s", tt.text, strings.Join(got, "\n     "), tt.want)
		}
	}
}

// TestKinds: SPEC 2, strict decoding.
func TestKinds(t *testing.T) {
	const duration = `server.bridge_idle: found %s, allowed a whole number above 0 and a unit`
	runErrors(t, []ruleCase{
		{"#server", `thraeds = 2`, `server.thraeds: found an unknown key, allowed one of threads hostname`},
		{"#end", `[sever]`, `sever: found an unknown key, allowed one of server tls listener`},
		{"#listener", `Tls = "plain"`, `listener.in.Tls: found an unknown key`},
		{"#server", `threads = "2"`, `server.threads: found "2", allowed a whole number from 0 to 1024`},
		{"#server", `threads = 2.0`, `server.threads: found 2, allowed a whole number`},
		{"#server", `threads = -1`, `server.threads: found -1, allowed a whole number`},
		{"#server", `threads = 1025`, `server.threads: found 1025, allowed`},
		{"#server", `threads = 2030-06-01`, `server.threads: found a date, allowed`},
		{"#server", `proxy_ttl = 0`, `server.proxy_ttl: found 0, allowed a whole number from 1 to 255`},
		{"#server", `max_preauth = 0`, `server.max_preauth: found 0, allowed`},
		{"#server", `reuse_port = "true"`, `server.reuse_port: found "true", allowed true or false`},
		{"#server", `reuse_port = 1`, `server.reuse_port: found 1, allowed true or false`},
		{"#server", `bridge_idle = 5`, fmt.Sprintf(duration, "5")},
		{"#server", `bridge_idle = "5"`, fmt.Sprintf(duration, `"5"`)},
		{"#server", `bridge_idle = "0s"`, fmt.Sprintf(duration, `"0s"`)},
		{"#server", `bridge_idle = "-1s"`, fmt.Sprintf(duration, `"-1s"`)},
		{"#server", `bridge_idle = "+1s"`, fmt.Sprintf(duration, `"+1s"`)},
		{"#server", `bridge_idle = "1.5s"`, fmt.Sprintf(duration, `"1.5s"`)},
		{"#server", `bridge_idle = "1m30s"`, fmt.Sprintf(duration, `"1m30s"`)},
		{"#server", `bridge_idle = "5 s"`, fmt.Sprintf(duration, `"5 s"`)},
		{"#server", `bridge_idle = "5w"`, fmt.Sprintf(duration, `"5w"`)},
		{"#server", `bridge_idle = "s"`, fmt.Sprintf(duration, `"s"`)},
		{"#server", `bridge_idle = "99999999999999d"`, fmt.Sprintf(duration, `"99999999999999d"`)},
		{"#server", `bridge_idle = "99999999999999999999s"`, fmt.Sprintf(duration, `"99999999999999999999s"`)},
		{"#server", `bridge_idle = [1]`, fmt.Sprintf(duration, "a list")},
		{"#server", `stash_limit = "256MB"`, `server.stash_limit: found "256MB", allowed a whole number above 0 and a unit of KiB MiB GiB`},
		{"#server", `stash_limit = "0KiB"`, `server.stash_limit: found "0KiB", allowed`},
		{"#server", `stash_limit = "9999999999GiB"`, `server.stash_limit: found "9999999999GiB", allowed`},
		{"#server", `stash_limit = 1048576`, `server.stash_limit: found 1048576, allowed`},
		{"#server", `log_level = "loud"`, `server.log_level: found "loud", allowed one of debug info warn error`},
		{"#server", `log_format = "xml"`, `server.log_format: found "xml", allowed one of text json`},
		{"#server", `engine = "kqueue"`, `server.engine: found "kqueue", allowed one of auto epoll io_uring`},
		{"#server", `ktls = true`, `server.ktls: found true, allowed one of auto off require`},
		{"#server", `hostname = "mail example"`, `server.hostname: found "mail example", allowed a host name or IP address`},
		{"#server", `hostname = ""`, `server.hostname: found "", allowed`},
		{"#server", `hostname = "` + strings.Repeat("x", 300) + `"`, `server.hostname: found "` + strings.Repeat("x", 80) + `"…, allowed`},
		{"#server", `hostname = { a = 1 }`, `server.hostname: found a table, allowed`},
		{"#end", `[[metrics]]`, `metrics: found a list, allowed a table`},
		{"#end", "[http]\nroute = 5", `http.route: found 5, allowed a list of tables`},
		{"#end", "[http]\nroute = [5]", `http.route: found a list, allowed a list of tables`},
		{"#end", "[listener]\nx = 5", `listener.x: found 5, allowed a table`},
		{"#end", "[listener.\"a b\"]\nprotocol = \"imap\"\nbind = [\"127.0.0.1:2\"]\ntls = \"implicit\"", `listener."a b": found "a b", allowed a name of letters`},
		{"#end", "[listener.-]\nprotocol = \"imap\"\nbind = [\"127.0.0.1:2\"]\ntls = \"implicit\"", `listener.-: found "-", allowed a name of letters`},
		{"#old", "[destination.old.protocol.imaps]\nport = 1\ntls = \"implicit\"", `destination.old.protocol.imaps: found "imaps", allowed one of imap pop3`},
		{"#end", `[oauth]` + "\n" + `jwt_username_claim = " "`, `oauth.jwt_username_claim: found " ", allowed a string that is not empty`},
	})
}

// TestListenerErrors: SPEC 2.3 and, for overlaps, 2.11.
func TestListenerErrors(t *testing.T) {
	const second = "[listener.two]\nprotocol = \"imap\"\ntls = \"implicit\"\nbind = "
	runErrors(t, []ruleCase{
		{`protocol = "imap"`, ``, `listener.in.protocol: found nothing, allowed one of imap pop3`},
		{`protocol = "imap"`, `protocol = "imaps"`, `listener.in.protocol: found "imaps", allowed one of imap pop3`},
		{`bind = ["127.0.0.1:1143"]`, ``, `listener.in.bind: found nothing, allowed a list, each IP:port`},
		{`bind = ["127.0.0.1:1143"]`, `bind = []`, `listener.in.bind: found an empty list, allowed a list, each IP:port`},
		{`bind = ["127.0.0.1:1143"]`, `bind = "127.0.0.1:1143"`, `listener.in.bind: found "127.0.0.1:1143", allowed a list`},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["127.0.0.1"]`, `listener.in.bind: found "127.0.0.1", allowed a list, each IP:port`},
		{`bind = ["127.0.0.1:1143"]`, `bind = [":1143"]`, `listener.in.bind: found ":1143", allowed`},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["::1:1143"]`, `listener.in.bind: found "::1:1143", allowed`},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["localhost:1143"]`, `listener.in.bind: found "localhost:1143", allowed`},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["127.0.0.1:0"]`, `listener.in.bind: found "127.0.0.1:0", allowed`},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["127.0.0.1:65536"]`, `listener.in.bind: found "127.0.0.1:65536", allowed`},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["224.0.0.1:1143"]`, `listener.in.bind: found "224.0.0.1:1143", allowed`},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["[fe80::1%eth0]:1143"]`, `listener.in.bind: found "[fe80::1%eth0]:1143", allowed`},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["127.0.0.1:1143", 5]`, `listener.in.bind: found 5, allowed a list, each IP:port`},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["127.0.0.1:1143", "127.0.0.1:1143"]`, `listener.in.bind: found "127.0.0.1:1143", allowed an address that listener.in.bind (127.0.0.1:1143) does not take`},
		{`#end`, second + `["127.0.0.1:1143"]`, `listener.two.bind: found "127.0.0.1:1143", allowed an address that listener.in.bind`},
		{`#end`, second + `["[::ffff:127.0.0.1]:1143"]`, `listener.two.bind: found "127.0.0.1:1143", allowed`},
		{`#end`, second + `["0.0.0.0:1143"]`, `listener.two.bind: found "0.0.0.0:1143", allowed`},
		{`#end`, second + `["127.0.0.1:9443"]`, `admin.bind: found "127.0.0.1:9443", allowed an address that listener.two.bind`},
		{`#end`, second + `["0.0.0.0:9443"]`, `admin.bind: found "127.0.0.1:9443", allowed`},
		{`#end`, second + `["[::]:9443"]`, `admin.bind: found "127.0.0.1:9443", allowed`},
		{`#end`, second + `["[::]:2", "[::1]:2"]`, `listener.two.bind: found "[::1]:2", allowed`},
		{`#end`, "[metrics]\nbind = \"127.0.0.1:9443\"", `metrics.bind: found "127.0.0.1:9443", allowed an address that admin.bind`},
		{`#end`, "[metrics]\nbind = \"[::]:1143\"", `metrics.bind: found "[::]:1143", allowed an address that listener.in.bind`},
		{`tls = "implicit"` + "\n#listener", `#listener`, `listener.in.tls: found nothing, allowed one of implicit starttls plain`},
		{`#listener`, `proxy_protocol = "required"`, `listener.in.proxy_trusted: found nothing, allowed the networks that may send a PROXY header, since proxy_protocol is required`},
		{`#listener`, `proxy_protocol = "optional"`, `listener.in.proxy_trusted: found nothing, allowed`},
		{`#listener`, `proxy_protocol = "v2"`, `listener.in.proxy_protocol: found "v2", allowed one of off optional required`},
		{`#listener`, `proxy_trusted = ["10.0.0.0/33"]`, `listener.in.proxy_trusted: found "10.0.0.0/33", allowed a list, each a network`},
		{`#listener`, `proxy_trusted = ["lb.example.com"]`, `listener.in.proxy_trusted: found "lb.example.com", allowed`},
		{`#listener`, "proxy_protocol = \"required\"\nproxy_trusted = [\"x\"]", `listener.in.proxy_trusted: found "x", allowed`},
		{`#listener`, `max_auth_attempts = 0`, `listener.in.max_auth_attempts: found 0, allowed`},
		{`#listener`, `max_connections = -1`, `listener.in.max_connections: found -1, allowed`},
		{`#listener`, `preauth_timeout = "0s"`, `listener.in.preauth_timeout: found "0s", allowed`},
		{`#listener`, `forwarded = "trust"`, `listener.in.forwarded: found it on a listener for imap, allowed it on listeners for http only`},
		{`#end`, "[listener.h]\nprotocol = \"http\"\nbind = [\"127.0.0.1:8\"]\ntls = \"starttls\"\n[[http.route]]\nmatch = \"*\"\ndestination = \"web\"" + web, `listener.h.tls: found "starttls", allowed implicit or plain for http`},
	})
}

const web = "\n[destination.web]\nhost = \"web.example.com\"\n[destination.web.protocol.http]\nport = 80\ntls = \"implicit\"\n"

// TestBindsSideBySide: addresses that do not take each other's connections.
func TestBindsSideBySide(t *testing.T) {
	dir := newDir(t)
	for _, tt := range []struct {
		binds  string
		v6Only bool
	}{
		{`"0.0.0.0:993", "[::]:993"`, true},
		{`"192.0.2.1:993", "[::]:993"`, true},
		{`"0.0.0.0:994", "[::]:993"`, false},
		{`"[::]:993"`, false},
		{`"0.0.0.0:993", "[2001:db8::1]:993", "[::]:995"`, false},
		{`"192.0.2.1:993", "192.0.2.2:993", "[::1]:993"`, false},
	} {
		c, _ := mustParse(t, edit(t, base, `bind = ["127.0.0.1:1143"]`, "bind = ["+tt.binds+"]"), testOptions(dir))
		got := false
		for _, b := range c.Listeners[0].Bind {
			got = got || c.V6Only(b)
		}
		if got != tt.v6Only {
			t.Errorf("%s: got IPv6 only %v, want %v", tt.binds, got, tt.v6Only)
		}
	}
}

// TestDestinationErrors: SPEC 2.4 and what 2.11 says about legs.
func TestDestinationErrors(t *testing.T) {
	const host, smtp = `host = "imap.example.com"`, "[destination.old.protocol.smtp]\nport = 25\ntls = \"plain\"\n"
	runErrors(t, []ruleCase{
		{host, ``, `destination.old.host: found nothing, allowed a host name or IP address`},
		{host, `host = "imap.example.com:143"`, `destination.old.host: found "imap.example.com:143", allowed`},
		{host, `host = "10.0.1.300"`, `destination.old.host: found "10.0.1.300", allowed`},
		{host, `host = "[::1]"`, `destination.old.host: found "[::1]", allowed`},
		{host, `host = "0.0.0.0"`, `destination.old.host: found "0.0.0.0", allowed`},
		{host, `host = "-a.example"`, `destination.old.host: found "-a.example", allowed`},
		{host, `host = "a..b"`, `destination.old.host: found "a..b", allowed`},
		{host, `host = "bücher.example"`, `destination.old.host: found "bücher.example", allowed`},
		{host, host + "\nhosts = [\"b.example.com\"]", `destination.old.hosts: found both host and hosts, allowed one of them`},
		{host, `hosts = []`, `destination.old.hosts: found an empty list, allowed at least one host`},
		{host, `hosts = ["a.example.com", "b c"]`, `destination.old.hosts: found "b c", allowed a list, each a host name`},
		{host, `host = "10.0.1.10"`, `destination.old.tls_server_name: found nothing, allowed the name in the backend's certificate, since the host is an address (10.0.1.10)`},
		{host, `hosts = ["a.example.com", "2001:db8::1"]`, `destination.old.tls_server_name: found nothing, allowed`},
		{host, "host = \"10.0.1.10\"\ntls_allow_invalid_certs = true\ntls_pinned_cert_sha256 = \"" + pin + "\"", `destination.old.tls_server_name: found nothing, allowed`},
		{host, "host = \"10.0.1.10\"\ntls_ca = \"mail.pem\"\ntls_pinned_cert_sha256 = \"" + pin + "\"", `destination.old.tls_server_name: found nothing, allowed`},
		{`#old`, `tls_server_name = "a b"`, `destination.old.tls_server_name: found "a b", allowed`},
		{`#old`, `tls_pinned_cert_sha256 = "` + pin[2:] + `"`, `destination.old.tls_pinned_cert_sha256: found "` + pin[2:] + `", allowed 64 hex digits`},
		{`#old`, `tls_pinned_cert_sha256 = "zz` + pin[2:] + `"`, `destination.old.tls_pinned_cert_sha256: found "zz` + pin[2:] + `", allowed`},
		{`#old`, `tls_client_cert = "mail.pem"`, `destination.old.tls_client_key: found nothing, allowed the key of tls_client_cert`},
		{`#old`, `tls_client_key = "mail.key"`, `destination.old.tls_client_cert: found nothing, allowed the certificate of tls_client_key`},
		{`#old`, "tls_client_cert = \"mail.pem\"\ntls_client_key = \"twin.key\"", `destination.old.tls_client_cert: found "mail.pem" with "twin.key": tls: private key does not match`},
		{`#old`, "tls_client_cert = \"mail.pem\"\ntls_client_key = \"none.key\"", `destination.old.tls_client_key: found "none.key": no such file or directory, allowed`},
		{`#old`, `tls_ca = "none.pem"`, `destination.old.tls_ca: found "none.pem": no such file or directory, allowed`},
		{`#old`, `tls_ca = "empty.pem"`, `destination.old.tls_ca: found "empty.pem" without a certificate, allowed`},
		{`#old`, `forwarding = "v2"`, `destination.old.forwarding: found "v2", allowed one of proxy xclient none`},
		{`#old`, `source_ips = ["0.0.0.0"]`, `destination.old.source_ips: found "0.0.0.0", allowed a list, each an IP address`},
		{`port = 143`, ``, `destination.old.protocol.imap.port: found nothing, allowed a whole number from 1 to 65535`},
		{`port = 143`, `port = 0`, `destination.old.protocol.imap.port: found 0, allowed`},
		{`port = 143`, `port = 65536`, `destination.old.protocol.imap.port: found 65536, allowed`},
		{`tls = "starttls"`, ``, `destination.old.protocol.imap.tls: found nothing, allowed one of implicit starttls plain`},
		{`tls = "starttls"`, `tls = "plain"`, `destination.old.protocol.imap.tls: found "plain", allowed implicit or starttls, or allow_plaintext_auth = true`},
		{`#leg`, "[destination.old.protocol.http]\nport = 80\ntls = \"plain\"", `destination.old.protocol.http.tls: found "plain", allowed`},
		{`#leg`, "[destination.old.protocol.http]\nport = 80\ntls = \"starttls\"", `destination.old.protocol.http.tls: found "starttls", allowed implicit or plain for http`},
		{`#leg`, "forwarding = \"xclient\"\n" + smtp + "forwarding = \"none\"", `destination.old.protocol.smtp.forwarding: found "none" beside xclient`},
		{`#old`, "forwarding = \"xclient\"\n" + strings.ReplaceAll(smtp, "smtp", "lmtp") + "forwarding = \"none\"", `destination.old.protocol.lmtp.forwarding: found "none" beside xclient`},
		{`#old`, "proxy_protocol = false\n[destination.old.protocol.pop3]\nport = 1\ntls = \"implicit\"\nforwarding = \"xclient\"\n" + smtp, `destination.old.protocol.smtp.forwarding: found "none" beside xclient`},
		{host, "host = \"127.0.0.1\"\ntls_server_name = \"a\"\n[destination.old.protocol.pop3]\nport = 1143\ntls = \"implicit\"", `destination.old.protocol.pop3.port: found 127.0.0.1:1143, a listener of this proxy, allowed the address of a backend`},
	})
}

const pin = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// TestDestinationsThatPass: the exceptions of the same rules.
func TestDestinationsThatPass(t *testing.T) {
	const host, smtp = `host = "imap.example.com"`, "[destination.old.protocol.smtp]\nport = 25\ntls = \"plain\"\n"
	dir := newDir(t)
	for _, tt := range []struct{ at, text string }{
		{host, "host = \"10.0.1.10\"\ntls_server_name = \"imap.example.com\""},
		{host, "host = \"10.0.1.10\"\ntls_ca = \"mail.pem\""},
		{host, "host = \"10.0.1.10\"\ntls_allow_invalid_certs = true"},
		{"#old", "tls_client_cert = \"mail.pem\"\ntls_client_key = \"mail.key\""},
		{"#leg", smtp},
		{"#leg", smtp + "forwarding = \"none\""},
		{"#leg", "forwarding = \"xclient\"\n" + smtp},
		{"#old", "forwarding = \"xclient\"\n" + smtp},
		{host, "host = \"127.0.0.2\"\ntls_server_name = \"a\"\n[destination.old.protocol.pop3]\nport = 1143\ntls = \"implicit\""},
	} {
		if _, _, err := Parse([]byte(edit(t, base, tt.at, tt.text)), testOptions(dir)); err != nil {
			t.Errorf("%s: got %v, want none", tt.text, err)
		}
	}
}

// TestOwnListener: SPEC 2.11, the endpoint that is one of our own listeners.
func TestOwnListener(t *testing.T) {
	local := func(a netip.Addr) bool {
		return a == netip.MustParseAddr("192.0.2.1") || a == netip.MustParseAddr("2001:db8::1")
	}
	for _, tt := range []struct {
		binds, ep string
		want      bool
	}{
		{"127.0.0.1:143", "127.0.0.1:143", true},
		{"127.0.0.1:143", "[::ffff:127.0.0.1]:143", true},
		{"127.0.0.1:143", "127.0.0.1:144", false},
		{"127.0.0.1:143", "127.0.0.2:143", false},
		{"198.51.100.1:143", "198.51.100.1:143", true},
		{"0.0.0.0:143", "127.0.0.2:143", true},
		{"0.0.0.0:143", "192.0.2.1:143", true},
		{"0.0.0.0:143", "192.0.2.2:143", false},
		{"0.0.0.0:143", "0.0.0.0:143", true},
		{"0.0.0.0:143", "[::1]:143", false},
		{"[::]:143", "[::1]:143", true},
		{"[::]:143", "[2001:db8::1]:143", true},
		{"[::]:143", "[2001:db8::2]:143", false},
		{"[::]:143", "192.0.2.1:143", true},
		{"[::]:143 198.51.100.1:143", "192.0.2.1:143", false},
		{"[::]:143 198.51.100.1:144", "192.0.2.1:143", true},
	} {
		l := &Listener{}
		for _, b := range strings.Fields(tt.binds) {
			l.Bind = append(l.Bind, netip.MustParseAddrPort(b))
		}
		c := &Config{Listeners: []*Listener{l}}
		if got := c.OwnListener(netip.MustParseAddrPort(tt.ep), local); got != tt.want {
			t.Errorf("listener on %s, endpoint %s: got %v, want %v", tt.binds, tt.ep, got, tt.want)
		}
	}
}

// TestRoutingErrors: SPEC 2.6 and the protocols that 2.11 wants of destinations.
func TestRoutingErrors(t *testing.T) {
	const pop3 = "[listener.p]\nprotocol = \"pop3\"\nbind = [\"127.0.0.1:110\"]\ntls = \"implicit\""
	mx := strings.NewReplacer("listener.p", "listener.mx", "pop3", "smtp", "implicit", "plain").Replace(pop3)
	runErrors(t, []ruleCase{
		{`default_destination = "old"`, ``, `routing.default_destination: found nothing, allowed a string`},
		{`default_destination = "old"`, `default_destination = "older"`, `routing.default_destination: found "older", allowed a declared destination: new old`},
		{`#end`, pop3, `routing.default_destination: found "old", which does not declare pop3, allowed`},
		{`#end`, mx, `routing.smtp_passthrough_destination: found nothing, allowed a destination, since listener.mx passes mail through`},
		{`#routing`, `smtp_passthrough_destination = "mx"`, `routing.smtp_passthrough_destination: found "mx", allowed a declared destination: new old`},
		{`#routing`, "smtp_passthrough_destination = \"new\"\n" + mx, `routing.smtp_passthrough_destination: found "new", which does not declare smtp, allowed`},
		{`#routing`, "smtp_passthrough_destination = \"web\"\n" + strings.Replace(mx, `"smtp"`, `"lmtp"`, 1) + strings.ReplaceAll(web, "http", "smtp"), `routing.smtp_passthrough_destination: found "web", which does not declare lmtp, allowed`},
		{`#routing`, "smtp_passthrough_destination = \"web\"\n" + strings.Replace(mx, `"smtp"`, `"lmtp"`, 1) + strings.ReplaceAll(web, "http", "lmtp"), `routing.smtp_passthrough_destination: found "web", which does not declare smtp, allowed`},
		{`#routing`, "smtp_passthrough_destination = \"web\"\n" + strings.Replace(mx, `"plain"`, `"starttls"`, 1) + strings.ReplaceAll(web, "http", "smtp"), `listener.mx.tls: found "starttls", allowed implicit or plain for smtp`},
		{`#routing`, `default_domain = "@example.com"`, `routing.default_domain: found "@example.com", allowed a domain name`},
		{`#routing`, `default_domain = "192.0.2.1"`, `routing.default_domain: found "192.0.2.1", allowed a domain name`},
		{`#routing`, `master_user_separators = "%"`, `routing.master_user_separators: found "%", allowed a list`},
	})
}

// TestMappingErrors: SPEC 2.5.
func TestMappingErrors(t *testing.T) {
	const redis, sql = "[mapping.redis]\nurl = ", "[mapping.sql]\nquery = \"q\"\nurl = "
	runErrors(t, []ruleCase{
		{`source = "file"`, ``, `mapping.source: found nothing, allowed one of file redis sql`},
		{`source = "file"`, `source = "ldap"`, `mapping.source: found "ldap", allowed one of file redis sql`},
		{`source = "file"`, `source = "redis"`, `mapping.redis: found nothing, allowed the section of the source "redis"`},
		{`source = "file"`, `source = "sql"`, `mapping.sql: found nothing, allowed the section of the source "sql"`},
		{`path = "mappings.tsv"`, ``, `mapping.file.path: found nothing, allowed a path`},
		{`path = "mappings.tsv"`, `path = "none.tsv"`, `mapping.file.path: found "none.tsv": no such file or directory, allowed`},
		{`path = "mappings.tsv"`, `path = "."`, `mapping.file.path: found`},
		{`#mapping`, `normalize = "upper"`, `mapping.normalize: found "upper", allowed one of none lowercase`},
		{`#mapping`, `negative_ttl = "0s"`, `mapping.negative_ttl: found "0s", allowed`},
		{`#mapping`, `cache_max_entries = 0`, `mapping.cache_max_entries: found 0, allowed`},
		{`#mapping`, `on_store_error = "fail"`, `mapping.on_store_error: found "fail", allowed one of default unavailable`},
		{`#mapping`, `on_change = "drop"`, `mapping.on_change: found "drop", allowed one of keep kick`},
		{`#end`, "[mapping.redis]", `mapping.redis.url: found nothing, allowed`},
		{`#end`, redis + `"http://h"`, `mapping.redis.url: found an address that does not fit, allowed one of redis:// rediss://`},
		{`#end`, redis + `"redis://"`, `mapping.redis.url: found an address that does not fit, allowed HOST or HOST:PORT`},
		{`#end`, redis + `"redis://h:0"`, `mapping.redis.url: found an address that does not fit, allowed HOST or HOST:PORT`},
		{`#end`, redis + `"redis://a:1,b:x"`, `mapping.redis.url: found an address that does not fit, allowed HOST or HOST:PORT`},
		{`#end`, redis + `"redis://h/one"`, `mapping.redis.url: found an address that does not fit, allowed a number of a database`},
		{`#end`, redis + `"redis+sentinel://a:1,b:1"`, `mapping.redis.url: found an address that does not fit, allowed /MASTER`},
		{`#end`, redis + `"redis+sentinel://a:1/m/x"`, `mapping.redis.url: found an address that does not fit, allowed a number`},
		{`#end`, redis + "\"redis://h\"\npool_size = 0", `mapping.redis.pool_size: found 0, allowed`},
		{`#end`, "[mapping.sql]\nurl = \"mysql://h\"", `mapping.sql.query: found nothing, allowed`},
		{`#end`, sql + `"oracle://h"`, `mapping.sql.url: found an address that does not fit, allowed one of postgres://`},
		{`#end`, sql + `"sqlite://"`, `mapping.sql.url: found an address that does not fit, allowed`},
		{`#end`, sql + "\"mysql://h/d\"\nnotify_channel = \"c\"", `mapping.sql.notify_channel: found it beside another database, allowed it with PostgreSQL only`},
	})
}

func TestMappingAddressesThatPass(t *testing.T) {
	for _, u := range []string{"redis://h", "redis://h:6379", "rediss://u:p%40@h:6379/2", "redis://a:1,b:2,c", "redis://[::1]:6379", "redis://[::1]",
		"redis://10.0.0.1:6379/0?x=y", "redis+sentinel://a:1,b:1/m", "redis+sentinel://:p@a:1,b:1/m/0", "rediss+sentinel://a/m"} {
		if got := redisAllowed(u); got != "" {
			t.Errorf("%s: got that only %s is allowed, want it to pass", u, got)
		}
	}
	dir := newDir(t)
	for _, u := range []string{"postgres://h/d", "postgresql://h/d", "mysql://h/d", "sqlite://m.db", "sqlite::memory:"} {
		mustParse(t, edit(t, base, "#end", "[mapping.sql]\nquery = \"q\"\nurl = \""+u+"\""), testOptions(dir))
	}
	mustParse(t, edit(t, base, "#end", "[mapping.sql]\nquery = \"q\"\nurl = \"postgres://h/d\"\nnotify_channel = \"c\""), testOptions(dir))
}

// TestMappingFile: SPEC 2.11, what the mapping file names.
func TestMappingFile(t *testing.T) {
	dir := newDir(t)
	o := testOptions(dir)
	lines := []MappingLine{{1, "a@example.com", "old"}, {2, "b@example.com", "gone"}, {3, "c@example.com", "web"},
		{4, "d@example.com", "web"}, {5, "e@example.com%root", "new"}}
	o.Mappings = func(path string) MappingFileLines {
		return MappingFileLines{lines, Problems{{path, 9, "line", "one field", "two"}}, Problems{{path, 8, "identifier", "it twice", "it once"}}}
	}
	_, warnings, err := Parse([]byte(edit(t, base, "#end", web)), o)
	wantProblems(t, short(problems(t, err), dir), `destination: found "gone", allowed a declared destination: new old web`,
		`destination: found "web", which does not declare imap, allowed`, "line: found one field, allowed two")
	wantProblems(t, short(warnings, dir), `identifier: found one with the master separator "%"`, "identifier: found it twice")
	if p := problems(t, err)[0]; p.File != dir+"/mappings.tsv" || p.Line != 2 {
		t.Errorf("got %s:%d, want mappings.tsv:2", p.File, p.Line)
	}
	lines = nil
	for i := range 3000 {
		lines = append(lines, MappingLine{i + 1, "a", "gone"})
	}
	_, _, err = Parse([]byte(base), o)
	got := problems(t, err)
	if len(got) != maxMappingProblems+2 || !strings.Contains(err.Error(), "2900 further lines") {
		t.Errorf("got %d problems, want %d and how many more there are", len(got), maxMappingProblems+2)
	}
}

// TestTLSErrors: SPEC 2.2.
func TestTLSErrors(t *testing.T) {
	second := func(name, more string) string {
		return "[tls.certificate.two]\ncert = \"" + name + ".pem\"\nkey = \"" + name + ".key\"\n" + more
	}
	const suites = "[tls.protocols]\ndisable_cipher_suites = "
	runErrors(t, []ruleCase{
		{`cert = "mail.pem"`, ``, `tls.certificate.public.cert: found nothing, allowed a path`},
		{`cert = "mail.pem"`, `cert = ""`, `tls.certificate.public.cert: found "", allowed a path`},
		{`cert = "mail.pem"`, `cert = "none.pem"`, `tls.certificate.public.cert: found "none.pem": no such file or directory, allowed`},
		{`cert = "mail.pem"`, `cert = "empty.pem"`, `tls.certificate.public.cert: found "empty.pem" with "mail.key": tls: failed to find any PEM data`},
		{`key = "mail.key"`, `key = "none.key"`, `tls.certificate.public.key: found "none.key": no such file or directory, allowed`},
		{`key = "mail.key"`, `key = "twin.key"`, `tls.certificate.public.cert: found "mail.pem" with "twin.key": tls: private key does not match`},
		{`#certificate`, `subjects = ["a b"]`, `tls.certificate.public.subjects: found "a b", allowed a list, each a host name, *.DOMAIN or *`},
		{`#certificate`, `subjects = ["a.*.example"]`, `tls.certificate.public.subjects: found "a.*.example", allowed`},
		{`#end`, second("twin", ""), `tls.certificate.two.cert: found "mail.example.com", which tls.certificate.public serves with the same key type`},
		{`#end`, second("cn", ""), `tls.certificate.two.cert: found "mail.example.com", which tls.certificate.public`},
		{`#end`, second("late", "subjects = [\"MAIL.example.com.\"]"), `tls.certificate.two.subjects: found "mail.example.com", which`},
		{`#certificate`, "default = true\n" + second("late", "default = true"), `tls.certificate.two.default: found "*", which tls.certificate.public`},
		{`#certificate`, "default = true\n" + second("late", "subjects = [\"*\"]"), `tls.certificate.two.subjects: found "*", which`},
		{`#end`, "[tls.protocols]\nmin_version = \"1.1\"", `tls.protocols.min_version: found "1.1", allowed one of 1.2 1.3`},
		{`#end`, "[tls.protocols]\nmin_version = 1.2", `tls.protocols.min_version: found 1.2, allowed one of 1.2 1.3`},
		{`#end`, suites + `["AES128-SHA"]`, `tls.protocols.disable_cipher_suites: found "AES128-SHA", allowed standard names`},
		{`#end`, suites + allTLS12, `tls.protocols.disable_cipher_suites: found no suite of TLS 1.2 left, allowed`},
	})
}

// TestTLSThatPasses: certificates beside each other, and insecure suites that are off anyway.
func TestTLSThatPasses(t *testing.T) {
	dir := newDir(t)
	for _, text := range []string{
		"default = true\n[tls.certificate.two]\ncert = \"ed.pem\"\nkey = \"ed.key\"\ndefault = true",
		"default = true\nsubjects = [\"*\"]",
		"[tls.certificate.two]\ncert = \"twin.pem\"\nkey = \"twin.key\"\nsubjects = [\"other.example.com\"]",
		"[tls.protocols]\ndisable_cipher_suites = [\"TLS_RSA_WITH_RC4_128_SHA\"]",
		"[tls.protocols]\ndisable_cipher_suites = [\"TLS13_ECDHE_RSA_WITH_AES_128_CBC_SHA\"]",
	} {
		mustParse(t, edit(t, base, "#certificate", text), testOptions(dir))
	}
}

// TestCapabilityErrors: SPEC 2.7.
func TestCapabilityErrors(t *testing.T) {
	runErrors(t, []ruleCase{
		{`#end`, "[capabilities.imap]\nsasl = [\"PLAIN\", \"PLAIN\"]", `capabilities.imap.sasl: found "PLAIN" twice, allowed each mechanism once`},
		{`#end`, "[capabilities.imap]\nsasl = [\"CRAM-MD5\"]", `capabilities.imap.sasl: found "CRAM-MD5", allowed a list, each one of PLAIN LOGIN OAUTHBEARER XOAUTH2`},
		{`#end`, "[capabilities.imap]\nsasl = [\"plain\"]", `capabilities.imap.sasl: found "plain", allowed`},
		{`#end`, "[capabilities.submission]\nsasl = []", `capabilities.submission.sasl: found an empty list, allowed at least one mechanism`},
		{`#end`, "[capabilities.managesieve]\nsasl = []", `capabilities.managesieve.sasl: found an empty list, allowed`},
		{`#end`, "[capabilities.imap]\nbanner = \"a\\r\\nb\"", `capabilities.imap.banner: found "a\r\nb", allowed printable ASCII text`},
		{`#end`, "[capabilities.imap]\nbanner = \"\"", `capabilities.imap.banner: found "", allowed`},
		{`#end`, "[capabilities.imap]\nbanner = \"" + strings.Repeat("x", 257) + "\"", `capabilities.imap.banner: found`},
		{`#end`, "[capabilities.imap]\nadvertise = [\"IMAP4rev1 IDLE\"]", `capabilities.imap.advertise: found "IMAP4rev1 IDLE", allowed a list, each a word`},
		{`#end`, "[capabilities.imap]\nadvertise = [\"STARTTLS\"]", `capabilities.imap.advertise: found "STARTTLS", allowed words that are not announced by themselves`},
		{`#end`, "[capabilities.imap]\nadvertise = [\"auth=PLAIN\"]", `capabilities.imap.advertise: found "auth=PLAIN", allowed`},
		{`#end`, "[capabilities.pop3]\ncapa = [\"SASL PLAIN\"]", `capabilities.pop3.capa: found "SASL PLAIN", allowed`},
		{`#end`, "[capabilities.submission]\nehlo = [\"STARTTLS\"]", `capabilities.submission.ehlo: found "STARTTLS", allowed`},
		{`#end`, "[capabilities.smtp]", `capabilities.smtp: found an unknown key, allowed one of imap pop3 submission managesieve`},
	})
	dir := newDir(t)
	mustParse(t, edit(t, base, "#end", "[capabilities.imap]\nsasl = []\n[capabilities.submission]\nehlo = [\"SIZE 1000\"]"), testOptions(dir))
}

// TestHTTPErrors: SPEC 2.9 and 11.
func TestHTTPErrors(t *testing.T) {
	const route, extract = "[[http.route]]\nmatch = \"/a\"\n", "[[http.route]]\nmatch = \"/a\"\n[http.route.extract]\n"
	const listener = "[listener.h]\nprotocol = \"http\"\nbind = [\"127.0.0.1:8\"]\ntls = \"implicit\"\n"
	runErrors(t, []ruleCase{
		{`#end`, "[http]\nmax_head_size = 0", `http.max_head_size: found 0, allowed`},
		{`#end`, "[http]\nrelay_idle = \"0s\"", `http.relay_idle: found "0s", allowed`},
		{`#end`, "[[http.route]]\ndestination = \"old\"", `http.route[0].match: found nothing, allowed`},
		{`#end`, "[[http.route]]\nmatch = \"a\"\ndestination = \"old\"", `http.route[0].match: found "a", allowed a pattern`},
		{`#end`, "[[http.route]]\nmatch = \"/[a]\"\ndestination = \"old\"", `http.route[0].match: found "/[a]", allowed a pattern`},
		{`#end`, route, `http.route[0]: found neither destination nor extract, allowed one of them`},
		{`#end`, route + "destination = \"web\"", `http.route[0].destination: found "web", allowed a declared destination`},
		{`#end`, route + "fallback = \"web\"\n[http.route.extract]\nfrom = \"authorization\"", `http.route[0].fallback: found "web", allowed`},
		{`#end`, extract, `http.route[0].extract.from: found nothing, allowed one of authorization query header body`},
		{`#end`, extract + "from = \"cookie\"", `http.route[0].extract.from: found "cookie", allowed`},
		{`#end`, extract + "from = \"query\"", `http.route[0].extract.param: found nothing, allowed it, since from is query`},
		{`#end`, extract + "from = \"header\"", `http.route[0].extract.header: found nothing, allowed`},
		{`#end`, extract + "from = \"header\"\nheader = \"X Y\"", `http.route[0].extract.header: found "X Y", allowed a field name`},
		{`#end`, extract + "from = \"body\"", `http.route[0].extract.regex: found nothing, allowed`},
		{`#end`, extract + "from = \"body\"\nregex = \"(\"", `http.route[0].extract.regex: found "(", allowed a regular expression`},
		{`#end`, extract + "from = \"body\"\nregex = \"a\"", `http.route[0].extract.regex: found "a", allowed an expression with a group`},
		{`#end`, listener + route + "destination = \"old\"", `http.route[0].destination: found "old", which does not declare http`},
		{`#end`, listener + route + "destination = \"web\"\nfallback = \"old\"" + web, `http.route[0].fallback: found "old", which does not declare http`},
		{`#end`, listener + extract + "from = \"authorization\"", `routing.default_destination: found "old", which does not declare http, allowed a destination with http, since http.route[0] can fall to it`},
	})
}

// TestAdminErrors: SPEC 2.10 and the need for something to serve.
func TestAdminErrors(t *testing.T) {
	const token = `bearer_token_file = "token"`
	runErrors(t, []ruleCase{
		{`bind = "127.0.0.1:9443"`, ``, `admin.bind: found nothing, allowed IP:port`},
		{`bind = "127.0.0.1:9443"`, `bind = ["127.0.0.1:9443"]`, `admin.bind: found a list, allowed IP:port`},
		{`#admin`, `tls = "plain"`, `admin.tls: found "plain", allowed "implicit"`},
		{`#admin`, `tls = "starttls"`, `admin.tls: found "starttls", allowed "implicit"`},
		{`#admin`, `tls = "none"`, `admin.tls: found "none", allowed`},
		{token, ``, `admin.bearer_token: found nothing, allowed bearer_token_file, bearer_token or $MAILSPLICE_ADMIN_TOKEN`},
		{token, `bearer_token_file = "none"`, `admin.bearer_token_file: found "none": no such file or directory, allowed`},
		{token, `bearer_token_file = "short.token"`, `admin.bearer_token_file: found a token of 7 bytes, allowed at least 32 (min_token_len)`},
		{token, `bearer_token_file = "blank.token"`, `admin.bearer_token_file: found a token with blanks`},
		{token, `bearer_token_file = "empty.pem"`, `admin.bearer_token_file: found a token of 0 bytes`},
		{token, `bearer_token = " short "`, `admin.bearer_token: found a token of 5 bytes, allowed at least 32`},
		{token, `bearer_token = ""`, `admin.bearer_token: found an empty string or another kind of value, allowed`},
		{token, `bearer_token = 5`, `admin.bearer_token: found an empty string or another kind of value, allowed`},
		{`#admin`, `bearer_token = "` + pin + `"`, `admin.bearer_token_file: found both bearer_token_file and bearer_token, allowed one of them`},
		{`#admin`, `min_token_len = 33`, `admin.bearer_token_file: found a token of 32 bytes, allowed at least 33`},
		{`#admin`, `min_token_len = 0`, `admin.min_token_len: found 0, allowed`},
		{`#admin`, `lockout_threshold = 0`, `admin.lockout_threshold: found 0, allowed`},
		{`#end`, `[metrics]`, `metrics.bind: found nothing, allowed IP:port`},
	})
	dir := newDir(t)
	_, _, err := Parse([]byte("[mapping]\nsource = \"file\"\n[mapping.file]\npath = \"mappings.tsv\"\n[routing]\ndefault_destination = \"d\"\n[destination.d]\nhost = \"h\""), testOptions(dir))
	wantProblems(t, short(problems(t, err), dir), "listener: found neither listener nor [admin], allowed at least one of them")
}

// TestUserErrors: SPEC 2.1, user and group. Nobody may not go through a folder that only its owner may enter.
func TestUserErrors(t *testing.T) {
	runErrors(t, []ruleCase{
		{`#server`, `user = "no-such-user"`, `server.user: found "no-such-user", allowed a user of this machine`},
		{`#server`, `user = "4294967294"`, `server.user: found "4294967294", allowed`},
		{`#server`, `group = "no-such-group"`, `server.group: found "no-such-group", allowed a group of this machine`},
	})
	dir := newDir(t)
	_, _, err := Parse([]byte(edit(t, base, "#server", `user = "nobody"`)), testOptions(dir))
	got := strings.Join(short(problems(t, err), dir), "\n")
	if !strings.Contains(got, `tls.certificate.public.key: found "mail.key", which user 65534 cannot read`) || !strings.Contains(got, "admin.bearer_token_file: found") {
		t.Errorf("got\n%s\nwant that nobody cannot read key and token", got)
	}
	mustParse(t, edit(t, base, "#server", "user = \"root\"\ngroup = \"root\""), testOptions(dir))
}

// TestUserFiles: what nobody could not read or write after the change, where the way to it is open.
func TestUserFiles(t *testing.T) {
	const text = `user = "nobody"`
	noAdmin := strings.Replace(base, "[admin]\nbind = \"127.0.0.1:9443\"\nbearer_token_file = \"token\"\n", "", 1)
	for _, tt := range []struct {
		name, base             string
		folder, conf, mappings os.FileMode
		nobodys                bool // folder and mapping file are nobody's
		errors, warnings       string
	}{
		{"all is nobody's", base, 0o755, 0o644, 0o600, true, "", ""},
		{"mapping file of somebody else", base, 0o755, 0o644, 0o644, false, "", `mapping.file.path: found "mappings.tsv", which user 65534 cannot rewrite: no new files in `},
		{"folder for everybody, file of somebody else", base, 0o777, 0o644, 0o644, false, "", "cannot rewrite: it belongs to user "},
		{"nothing writes it", noAdmin, 0o755, 0o644, 0o644, false, "", ""},
		{"mapping file not readable", base, 0o755, 0o644, 0o600, false, `mapping.file.path: found "mappings.tsv", which user 65534 cannot read: permission denied`, ""},
		{"configuration not readable", noAdmin, 0o755, 0o600, 0o644, false, "", "server.user: found 65534, which cannot read this file: permission denied"},
	} {
		if tt.nobodys && os.Geteuid() != 0 {
			continue // only root can give files away
		}
		dir := newDir(t)
		for _, name := range []string{"mail.key", "token"} {
			write(t, dir, name, 0o644, string(must(os.ReadFile(filepath.Join(dir, name)))))
		}
		write(t, dir, "c.toml", tt.conf, "")
		write(t, dir, "mappings.tsv", tt.mappings, "")
		if tt.nobodys {
			for _, path := range []string{dir, filepath.Join(dir, "mappings.tsv")} {
				if err := os.Chown(path, 65534, 65534); err != nil {
					t.Fatal(err)
				}
			}
		}
		for path, mode := range map[string]os.FileMode{dir: tt.folder, filepath.Dir(dir): 0o755} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		c, warnings, err := Parse([]byte(edit(t, tt.base, "#server", text)), testOptions(dir))
		got := ""
		if err != nil {
			got = strings.Join(short(problems(t, err), dir), "\n")
		} else if c.RunAs == nil || c.RunAs.UID != 65534 || !slices.Contains(c.RunAs.Groups, c.RunAs.GID) {
			t.Errorf("%s: runs as %+v", tt.name, c.RunAs)
		}
		if (got == "") != (tt.errors == "") || !strings.Contains(got, tt.errors) {
			t.Errorf("%s: got errors %q, want %q", tt.name, got, tt.errors)
		}
		warned := ""
		for _, line := range short(warnings, dir) {
			if !strings.Contains(line, "readable by everybody") {
				warned += line + "\n"
			}
		}
		if (warned == "") != (tt.warnings == "") || !strings.Contains(warned, tt.warnings) {
			t.Errorf("%s: got warnings %q, want %q", tt.name, warned, tt.warnings)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestMay: the kernel asks the bits of the first class that fits, and no other.
func TestMay(t *testing.T) {
	dir := t.TempDir()
	me, mine := uint32(os.Getuid()), uint32(os.Getgid())
	for _, tt := range []struct {
		mode os.FileMode
		id   Identity
		want bool
	}{
		{0o400, Identity{UID: me, Groups: []uint32{mine}}, true},
		{0o044, Identity{UID: me, Groups: []uint32{mine}}, false},
		{0o040, Identity{UID: me + 1, Groups: []uint32{mine + 1, mine}}, true},
		{0o404, Identity{UID: me + 1, Groups: []uint32{mine}}, false},
		{0o004, Identity{UID: me + 1, Groups: []uint32{mine + 1}}, true},
		{0o440, Identity{UID: me + 1, Groups: []uint32{mine + 1}}, false},
	} {
		write(t, dir, "f", tt.mode|0o200, "")
		if err := os.Chmod(filepath.Join(dir, "f"), tt.mode); err != nil {
			t.Fatal(err)
		}
		if got := tt.id.may(filepath.Join(dir, "f"), 4); got != tt.want {
			t.Errorf("%04o for %+v: got %v, want %v", tt.mode, tt.id, got, tt.want)
		}
		if err := os.Remove(filepath.Join(dir, "f")); err != nil {
			t.Fatal(err)
		}
	}
}

// TestWarnings: everything that SPEC 2 calls warned, and what an operator would want to hear.
func TestWarnings(t *testing.T) {
	cert := func(name string) string {
		return "[tls.certificate.two]\ncert = \"" + name + ".pem\"\nkey = \"" + name + ".key\""
	}
	runWarnings(t, []ruleCase{
		{`#end`, cert("soon"), `tls.certificate.two.cert: found a certificate that expires at 2030-06-14T12:00:00Z, allowed one that is valid for 14 days more`},
		{`#end`, cert("past"), `tls.certificate.two.cert: found a certificate that expired at 2030-05-31T12:00:00Z`},
		{`#old`, "tls_client_cert = \"soon.pem\"\ntls_client_key = \"soon.key\"", `destination.old.tls_client_cert: found a certificate that expires`},
		{`key = "mail.key"`, `key = "open.key"`, `tls.certificate.public.key: found "open.key" readable by everybody (mode 0644), allowed`},
		{`bearer_token_file = "token"`, `bearer_token_file = "open.token"`, `admin.bearer_token_file: found "open.token" readable by everybody`},
		{`#old`, `tls_allow_invalid_certs = true`, `destination.old.tls_allow_invalid_certs: found true, allowed false: anybody on the way`},
		{`#old`, "tls_allow_invalid_certs = true\ntls_pinned_cert_sha256 = \"" + pin + "\"", `destination.old.tls_allow_invalid_certs: found true, allowed false: the pin is enforced`},
		{`#end`, "[tls.protocols]\ndisable_cipher_suites = [\"TLS13_AES_128_GCM_SHA256\"]", `tls.protocols.disable_cipher_suites: found "TLS13_AES_128_GCM_SHA256", which stays on, allowed suites of TLS 1.2`},
		{`#old`, `source_ips = ["192.0.2.1", "198.51.100.1"]`, `destination.old.source_ips: found "198.51.100.1", allowed addresses of this machine`},
		{`#listener`, `proxy_trusted = ["0.0.0.0/0"]`, `listener.in.proxy_trusted: found "0.0.0.0/0", allowed networks of your own`},
		{`tls = "implicit"` + "\n#listener", `tls = "plain"` + "\n#listener", `listener.in.tls: found "plain", where every login is refused, allowed`},
		{`#end`, "[listener.h]\nprotocol = \"http\"\nbind = [\"127.0.0.1:8\"]\ntls = \"implicit\"", `http.route: found no rule, allowed at least one`},
		{`#end`, "[[http.route]]\nmatch = \"/a\"\ndestination = \"old\"\nextract = { from = \"authorization\" }", `http.route[0].extract: found it beside destination, allowed one of them: destination wins`},
		{`#end`, "[[http.route]]\nmatch = \"/a\"\ndestination = \"old\"\nfallback = \"default\"", `http.route[0].fallback: found it beside destination`},
		{`#end`, "[[http.route]]\nmatch = \"/a\"\nextract = { from = \"authorization\", param = \"p\" }", `http.route[0].extract.param: found it beside from = "authorization"`},
	}, testOptions)
	noIPv6 := func(dir string) Options {
		o := testOptions(dir)
		o.HasIPv6 = func() bool { return false }
		o.Resolve = func(host string) ([]netip.Addr, error) {
			if host == "gone.example.com" {
				return nil, errors.New("no such host")
			}
			return []netip.Addr{netip.MustParseAddr("192.0.2.9")}, nil
		}
		return o
	}
	runWarnings(t, []ruleCase{
		{`bind = ["127.0.0.1:1143"]`, `bind = ["0.0.0.0:1143", "[::]:1143"]`, `listener.in.bind: found "[::]:1143", allowed IPv4 addresses: this kernel has no IPv6`},
		{`host = "new.example.com"`, `host = "gone.example.com"`, `destination.new.host: found "gone.example.com", which does not resolve, allowed`},
		{`host = "new.example.com"`, `hosts = ["gone.example.com"]`, `destination.new.hosts: found "gone.example.com", which does not resolve`},
	}, noIPv6)
}

// TestNoWarnings: what comes close to a warning and is none.
func TestNoWarnings(t *testing.T) {
	dir := newDir(t)
	for _, tt := range []struct{ at, text string }{
		{`#end`, "[tls.certificate.two]\ncert = \"late.pem\"\nkey = \"late.key\""},
		{`#old`, `source_ips = ["192.0.2.1", "127.0.0.9"]`},
		{`#old`, `tls_pinned_cert_sha256 = "` + pin + `"`},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["[::]:1143"]`},
	} {
		_, warnings := mustParse(t, edit(t, base, tt.at, tt.text), testOptions(dir))
		wantProblems(t, short(warnings, dir))
	}
	// The configuration file is a token file when the token stands in it.
	write(t, dir, "c.toml", 0o644, "")
	src := edit(t, base, `bearer_token_file = "token"`, `bearer_token = "`+pin+`"`)
	_, warnings := mustParse(t, src, testOptions(dir))
	wantProblems(t, short(warnings, dir), `admin.bearer_token: found "c.toml" readable by everybody`)
}
