package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

func mustParse(t *testing.T, src string, o Options) (*Config, Problems) {
	t.Helper()
	c, warnings, err := Parse([]byte(src), o)
	if err != nil {
		t.Fatalf("parsing: %v", err)
	}
	return c, warnings
}

func TestBase(t *testing.T) {
	dir := newDir(t)
	c, warnings := mustParse(t, base, testOptions(dir))
	wantProblems(t, short(warnings, dir))
	s := Server{ShutdownGrace: 30 * time.Second, BridgeIdle: 30 * time.Minute, BackendTimeout: 10 * time.Second,
		BackendConnectRetries: 1, HostDownThreshold: 5, HostDownMinClients: 2, HostDownCooldown: 30 * time.Second, ProxyTTL: 7,
		LogLevel: slog.LevelInfo, LogFormat: LogText, Engine: EngineAuto, KTLS: KTLSAuto, HalfClosed: time.Minute,
		StashLimit: 256 << 20, MaxPreauth: 20000}
	if c.Server != s {
		t.Errorf("got server\n%+v\nwant\n%+v", c.Server, s)
	}
	l := Listener{Name: "in", Protocol: IMAP, Bind: []Bind{netip.MustParseAddrPort("127.0.0.1:1143")}, TLS: TLSImplicit,
		ProxyProtocol: ProxyOff, ProxyTrusted: []netip.Prefix{}, MaxConnections: 8192, PreauthTimeout: 30 * time.Second,
		MaxAuthAttempts: 3, Forwarded: ForwardedOff}
	if !reflect.DeepEqual(*c.Listeners[0], l) {
		t.Errorf("got listener\n%+v\nwant\n%+v", *c.Listeners[0], l)
	}
	if got, want := c.TLS.Certificates[0].Cert, filepath.Join(dir, "mail.pem"); got != want {
		t.Errorf("got certificate path %q, want %q", got, want)
	}
	if got, want := c.Admin.Token.Reveal(), strings.Repeat("t", 32); got != want {
		t.Errorf("got token of %d bytes, want it trimmed to %d", len(got), len(want))
	}
	if c.Metrics != nil || c.Mapping.Redis != nil || c.Destination("none") != nil {
		t.Error("got a table that the file does not hold")
	}
	if got := c.Capabilities.IMAP.Advertise; !slices.Equal(got, []string{"IMAP4rev1", "ENABLE", "SASL-IR", "LITERAL+", "ID"}) {
		t.Errorf("got capabilities %q", got)
	}
	if !c.IsSet("listener.in.tls") || c.IsSet("listener.in.max_connections") {
		t.Error("IsSet does not tell set keys from defaults")
	}
}

// TestValues: what a valid value becomes.
func TestValues(t *testing.T) {
	dir := newDir(t)
	at := func(path ...string) string { return filepath.Join(append([]string{dir}, path...)...) }
	for _, tt := range []struct {
		at, text string
		got      func(*Config) any
		want     any
	}{
		{"#server", `bridge_idle = "250ms"`, func(c *Config) any { return c.Server.BridgeIdle }, 250 * time.Millisecond},
		{"#server", `bridge_idle = "7s"`, func(c *Config) any { return c.Server.BridgeIdle }, 7 * time.Second},
		{"#server", `bridge_idle = "2m"`, func(c *Config) any { return c.Server.BridgeIdle }, 2 * time.Minute},
		{"#server", `bridge_idle = "1h"`, func(c *Config) any { return c.Server.BridgeIdle }, time.Hour},
		{"#server", `bridge_idle = "1d"`, func(c *Config) any { return c.Server.BridgeIdle }, 24 * time.Hour},
		{"#server", `stash_limit = "3KiB"`, func(c *Config) any { return c.Server.StashLimit }, int64(3 << 10)},
		{"#server", `stash_limit = "1GiB"`, func(c *Config) any { return c.Server.StashLimit }, int64(1 << 30)},
		{"#server", `log_level = "trace"`, func(c *Config) any { return c.Server.LogLevel }, slog.LevelDebug},
		{"#server", `log_level = "error"`, func(c *Config) any { return c.Server.LogLevel }, slog.LevelError},
		{"#server", `hostname = "2001:db8::1"`, func(c *Config) any { return c.Server.Hostname }, "2001:db8::1"},
		{"#server", `host_down_threshold = 0`, func(c *Config) any { return c.Server.HostDownThreshold }, 0},
		{"#server", `backend_connect_retries = 0`, func(c *Config) any { return c.Server.BackendConnectRetries }, 0},
		{"#listener", `proxy_trusted = ["192.0.2.77"]`, trusted, "192.0.2.77/32"},
		{"#listener", `proxy_trusted = ["192.0.2.77/24"]`, trusted, "192.0.2.0/24"},
		{"#listener", `proxy_trusted = ["2001:db8::7"]`, trusted, "2001:db8::7/128"},
		{"#listener", `proxy_trusted = ["::ffff:192.0.2.7"]`, trusted, "192.0.2.7/32"},
		{"#listener", `proxy_trusted = ["::ffff:192.0.2.7/120"]`, trusted, "192.0.2.0/24"},
		{"#listener", `max_connections = 0`, func(c *Config) any { return c.Listeners[0].MaxConnections }, 0},
		{`bind = ["127.0.0.1:1143"]`, `bind = ["[::ffff:127.0.0.1]:1143"]`, func(c *Config) any { return c.Listeners[0].Bind[0].String() }, "127.0.0.1:1143"},
		{`host = "new.example.com"`, `hosts = ["a.example", "b.example"]`, func(c *Config) any { return strings.Join(c.Destination("new").Hosts, " ") }, "a.example b.example"},
		{"#end", "", func(c *Config) any { return strings.Join(c.Destination("new").Hosts, " ") }, "new.example.com"},
		{"#end", "", func(c *Config) any { return leg(c).Forwarding }, ForwardProxy},
		{"#old", `proxy_protocol = false`, func(c *Config) any { return leg(c).Forwarding }, ForwardNone},
		{"#old", `forwarding = "xclient"`, func(c *Config) any { return leg(c).Forwarding }, ForwardXClient},
		{"#leg", `forwarding = "none"`, func(c *Config) any { return leg(c).Forwarding }, ForwardNone},
		{"#leg", "[destination.old.protocol.http]\nport=80\ntls=\"implicit\"\nforwarding=\"xclient\"", func(c *Config) any { return c.Destination("old").Endpoint(HTTP).Forwarding }, ForwardNone},
		{"#old", `tls_pinned_cert_sha256 = "` + strings.Repeat("Aa:", 31) + `bB"`, func(c *Config) any { return c.Destination("old").TLSPinnedCertSHA256.String() }, strings.Repeat("aa", 31) + "bb"},
		{"#routing", `master_user_separators = ["", "%", "*"]`, func(c *Config) any { return strings.Join(c.Routing.MasterUserSeparators, " ") }, "% *"},
		{"#routing", `master_user_separators = []`, func(c *Config) any { return len(c.Routing.MasterUserSeparators) }, 0},
		{"#end", "", func(c *Config) any { return strings.Join(c.Routing.MasterUserSeparators, " ") }, "%"},
		{"#end", "[mapping.sql]\nurl = \"sqlite://m.db\"\nquery = \"q\"", func(c *Config) any { return c.Mapping.SQL.URL.Reveal() }, "sqlite://" + at("m.db")},
		{"#end", "[mapping.sql]\nurl = \"sqlite:///m.db\"\nquery = \"q\"", func(c *Config) any { return c.Mapping.SQL.URL.Reveal() }, "sqlite:///m.db"},
		{"#end", "[mapping.sql]\nurl = \"sqlite::memory:\"\nquery = \"q\"\nupsert_query = \"u\"", func(c *Config) any { return c.Mapping.SQL.Writable() }, false},
		{"#end", "[mapping.sql]\nurl = \"mysql://h\"\nquery = \"q\"\nupsert_query = \"u\"\ndelete_query = \"d\"", func(c *Config) any { return c.Mapping.SQL.Writable() }, true},
		{"#end", "[mapping.redis]\nurl = \"redis://h\"\nkey_prefix = \"\"", func(c *Config) any { return c.Mapping.Redis.KeyPrefix }, ""},
		{"#end", "", func(c *Config) any { return c.TLS.Protocols.CipherSuites == nil }, true},
		{"#end", "[tls.protocols]\ndisable_cipher_suites = [\"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA\"]", func(c *Config) any { return len(c.TLS.Protocols.CipherSuites) }, 9},
		{"#end", "[tls.protocols]\nmin_version = \"1.3\"\ndisable_cipher_suites = " + allTLS12, func(c *Config) any { return len(c.TLS.Protocols.CipherSuites) }, 0},
		{"#end", "[http]\nroute = [{ match = \"/a\", destination = \"new\" }]", func(c *Config) any { return c.HTTP.Routes[0].Match }, "/a"},
		{"#end", "[http]\nmax_keepalive_requests = 0", func(c *Config) any { return c.HTTP.MaxKeepaliveRequests }, 0},
	} {
		src := edit(t, base, tt.at, tt.text)
		c, _, err := Parse([]byte(src), testOptions(dir))
		if err != nil {
			t.Errorf("%s: got %v, want none", tt.text, err)
			continue
		}
		if got := tt.got(c); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.text, got, tt.want)
		}
	}
}

func trusted(c *Config) any   { return c.Listeners[0].ProxyTrusted[0].String() }
func leg(c *Config) *Endpoint { return c.Destination("old").Endpoint(IMAP) }

const allTLS12 = `["TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
  "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
  "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
  "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"]`

// TestEnvironment: the variables of SPEC 2.1 and 2.10.
func TestEnvironment(t *testing.T) {
	dir := newDir(t)
	long := strings.Repeat("e", 32)
	for _, tt := range []struct {
		env   map[string]string
		level slog.Level
		token string
	}{
		{nil, slog.LevelWarn, strings.Repeat("t", 32)},
		{map[string]string{"MAILSPLICE_LOG": "debug", "RUST_LOG": "error"}, slog.LevelDebug, strings.Repeat("t", 32)},
		{map[string]string{"RUST_LOG": "ERROR"}, slog.LevelError, strings.Repeat("t", 32)},
		{map[string]string{"RUST_LOG": "trace"}, slog.LevelDebug, strings.Repeat("t", 32)},
		{map[string]string{"RUST_LOG": "info,hyper=warn"}, slog.LevelWarn, strings.Repeat("t", 32)},
		{map[string]string{"PROXY_ADMIN_TOKEN": long + "\n"}, slog.LevelWarn, long},
		{map[string]string{"PROXY_ADMIN_TOKEN": "short", "MAILSPLICE_ADMIN_TOKEN": long}, slog.LevelWarn, long},
		{map[string]string{"MAILSPLICE_ADMIN_TOKEN": "  "}, slog.LevelWarn, strings.Repeat("t", 32)},
	} {
		o := testOptions(dir)
		o.Env = func(name string) string { return tt.env[name] }
		c, _ := mustParse(t, edit(t, base, "#server", `log_level = "warn"`), o)
		if c.Server.LogLevel != tt.level {
			t.Errorf("%v: got level %v, want %v", tt.env, c.Server.LogLevel, tt.level)
		}
		if got := c.Admin.Token.Reveal(); got != tt.token {
			t.Errorf("%v: got token %q, want %q", tt.env, got, tt.token)
		}
	}
}

func TestEnvironmentErrors(t *testing.T) {
	dir := newDir(t)
	for _, tt := range []struct{ name, value, want string }{
		{"MAILSPLICE_LOG", "loud", `$MAILSPLICE_LOG: found "loud", allowed one of debug info warn error`},
		{"MAILSPLICE_ADMIN_TOKEN", "hunter2", "$MAILSPLICE_ADMIN_TOKEN: found a token of 7 bytes, allowed at least 32"},
		{"PROXY_ADMIN_TOKEN", "hunter2", "$PROXY_ADMIN_TOKEN: found a token of 7 bytes, allowed at least 32"},
	} {
		o := testOptions(dir)
		o.Env = func(name string) string {
			if name == tt.name {
				return tt.value
			}
			return ""
		}
		_, _, err := Parse([]byte(base), o)
		wantProblems(t, short(problems(t, err), dir), tt.want)
	}
}

// TestAllTogether: one run reports everything, each with its line, in the order of the file.
func TestAllTogether(t *testing.T) {
	dir := newDir(t)
	src := "[server]\nthreads = \"two\"\nthraeds = 2\nbridge_idle = \"5\"\n[listener.in]\nprotocol = \"imap\"\nbind = [\n  \"127.0.0.1:1\", # fine\n  \"127.0.0.1\",\n]\ntls = \"ssl\"\n" +
		"[mapping]\nsource = \"file\"\n[routing]\ndefault_destination = \"nowhere\"\n[[http.route]]\nmatch = \"/a\"\ndestination = \"x\"\n[[http.route]]\nmatch = \"/b\"\n[http.route.extract]\nfrom = \"query\"\n"
	_, _, err := Parse([]byte(src), testOptions(dir))
	var got []string
	for _, p := range problems(t, err) {
		got = append(got, fmt.Sprintf("%d %s", p.Line, p.Key))
	}
	want := []string{"2 server.threads", "3 server.thraeds", "4 server.bridge_idle", "7 listener.in.bind", "11 listener.in.tls",
		"12 mapping.file", "15 routing.default_destination", "18 http.route[0].destination", "21 http.route[1].extract.param"}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	first := problems(t, err)[0].String()
	if want := filepath.Join(dir, "c.toml") + `:2: server.threads: found "two", allowed a whole number from 0 to 1024`; first != want {
		t.Errorf("got %s\nwant %s", first, want)
	}
}

// TestSyntax: what is no TOML is reported with its line, and alone.
func TestSyntax(t *testing.T) {
	for _, tt := range []struct {
		src  string
		line int
		key  string
	}{
		{"[server]\nthreads = \n", 2, "server.threads"},
		{"[server]\nthreads = 1\nthreads = 2\n", 3, "server.threads"},
		{"[ser ver]\n", 1, "(syntax)"},
		{"a = " + strings.Repeat("[", 1000), 1, "(syntax)"},
		{"\na = " + strings.Repeat("{b = ", 1000), 2, "(syntax)"},
		{"\n\n" + strings.Repeat("a.", 1000) + "a = 1", 3, "(syntax)"},
		{"\"a\\nb\" = 1\n\"a\\nb\" = 2\n", 2, "a?b"},
		{"abcdef = \"\x00\"", 1, "abcdef"},
	} {
		_, _, err := Parse([]byte(tt.src), testOptions(t.TempDir()))
		ps := problems(t, err)
		if len(ps) != 1 || ps[0].Line != tt.line || ps[0].Key != tt.key {
			t.Errorf("%.40q: got %v, want one problem at line %d with %s", tt.src, ps, tt.line, tt.key)
		}
	}
	long := strings.Repeat("x", 1000) + " = 1\n"
	if _, _, err := Parse([]byte(long+long), testOptions(t.TempDir())); err == nil || len(err.Error()) > 600 {
		t.Errorf("got %v, want a problem that does not repeat a long key", err)
	}
}

// TestSecretsStayHidden: neither problems nor any way of printing show a secret.
func TestSecretsStayHidden(t *testing.T) {
	const secret = "hunter2"
	dir := newDir(t)
	for _, text := range []string{
		`bearer_token = "` + secret + `"`,
		`bearer_token = ` + secret,
		`bearer_token = true` + secret,
		`bearer_token = "` + secret + `" x`,
		`bearer_token = ["` + secret + `"]`,
		"bearer_token = \"" + secret + "\x01\"",
		"[mapping.redis]\nurl = \"http://u:" + secret + "@h\"",
		"[mapping.redis]\nurl = \"redis://u:" + secret + "@h:x\"",
		"[mapping.redis]\nurl = true" + secret,
		"[mapping.sql]\nurl = \"oracle://u:" + secret + "@h\"",
		"[mapping.sql]\nurl = [\"mysql://u:" + secret + "@h\"]\nquery = \"q\"",
	} {
		src := edit(t, edit(t, base, "#admin", text), `bearer_token_file = "token"`, "")
		_, warnings, err := Parse([]byte(src), testOptions(dir))
		if err == nil || strings.Contains(err.Error()+warnings.Error(), secret) {
			t.Errorf("%s: got %v %v, want a problem without the secret", text, err, warnings)
		}
	}
	// The decoder repeats what it takes for a number.
	digits := strings.Repeat("1234567890", 3)
	src := edit(t, edit(t, base, "#admin", "bearer_token = "+digits), `bearer_token_file = "token"`, "")
	if _, _, err := Parse([]byte(src), testOptions(dir)); err == nil || strings.Contains(err.Error(), digits) {
		t.Errorf("got %v, want a problem without the digits", err)
	}
	s := NewSecret(secret)
	j, err := json.Marshal(struct{ S Secret }{s})
	if err != nil {
		t.Fatal(err)
	}
	printed := fmt.Sprintf("%v %+v %#v %s %q %v %s", s, s, s, s, s, struct{ S Secret }{s}, j) + s.LogValue().String()
	if strings.Contains(printed, secret) || !strings.Contains(printed, redacted) {
		t.Errorf("got %s, want it redacted", printed)
	}
	if s.Reveal() != secret || s.Empty() {
		t.Error("Reveal lost the value")
	}
}

func TestLoad(t *testing.T) {
	dir := newDir(t)
	path := filepath.Join(dir, "c.toml")
	write(t, dir, "c.toml", 0o600, base)
	o := testOptions(dir)
	o.Path = ""
	c, _, err := Load(path, o)
	if err != nil || c.Path != path {
		t.Fatalf("got %v %v, want a configuration of %q", c, err, path)
	}
	if _, _, err := Load(path, Options{Now: o.Now}); err != nil {
		t.Errorf("with what the machine says: %v", err)
	}
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Load(filepath.Join(dir, "none"), Options{}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that it does not exist", err)
	}
	if _, _, err := Load(dir, Options{}); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v, want that it is no file", err)
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxFileBytes+1); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(big, Options{}); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("got %v, want that it is too large", err)
	}
}

// TestEnums: names and values fit together, and unset prints as nothing.
func TestEnums(t *testing.T) {
	for _, tt := range []struct {
		got  fmt.Stringer
		want string
	}{
		{HTTP, "http"}, {TLSPlain, "plain"}, {ForwardNone, "none"}, {ProxyRequired, "required"}, {ForwardedTrust, "trust"},
		{LogJSON, "json"}, {EngineURing, "io_uring"}, {KTLSRequire, "require"}, {TLS13, "1.3"}, {SourceSQL, "sql"},
		{NormalizeLowercase, "lowercase"}, {StoreErrorUnavailable, "unavailable"}, {ChangeKick, "kick"}, {FromBody, "body"},
		{Protocol(0), ""}, {Protocol(99), ""},
	} {
		if tt.got.String() != tt.want {
			t.Errorf("got %q, want %q", tt.got, tt.want)
		}
	}
	interactive, pass, credentials := "", "", ""
	for p := IMAP; p <= HTTP; p++ {
		if p.Interactive() {
			interactive += p.String() + " "
		}
		if p.PassThrough() {
			pass += p.String() + " "
		}
		if p.Credentials() {
			credentials += p.String() + " "
		}
	}
	if interactive != "imap pop3 managesieve submission " || pass != "smtp lmtp " || credentials != interactive+"http " {
		t.Errorf("got interactive %q, pass-through %q, credentials %q", interactive, pass, credentials)
	}
}
