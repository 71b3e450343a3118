package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// example reads a file of configs/ with its absolute paths moved to dir, which gets the files that it names.
func example(t *testing.T, name, dir string) string {
	t.Helper()
	b, err := os.ReadFile("../../configs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	for old, made := range map[string]string{"fullchain.pem": "mail.pem", "privkey.pem": "mail.key", "client.pem": "twin.pem",
		"client.key": "twin.key", "ca.pem": "mail.pem", "admin.token": "token"} {
		if err := os.Link(filepath.Join(dir, made), filepath.Join(dir, old)); err != nil {
			t.Fatal(err)
		}
	}
	return strings.ReplaceAll(string(b), "/etc/mailsplice/", dir+"/")
}

// TestConfigs: every example loads without a warning, and asks for what it should.
func TestConfigs(t *testing.T) {
	files, err := filepath.Glob("../../configs/*.toml")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]struct {
		listeners, destinations int
		builtWhole              bool
	}{"minimal.toml": {1, 1, true}, "migration.toml": {6, 2, true}, "full.toml": {3, 2, false}}
	if len(files) != len(want) {
		t.Errorf("got examples %v, want %d", files, len(want))
	}
	for name, w := range want {
		dir := newDir(t)
		o := testOptions(dir)
		o.LocalAddrs = func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.5")} }
		c, warnings, err := Parse([]byte(example(t, name, dir)), o)
		if err != nil {
			t.Errorf("%s:\n%v", name, err)
			continue
		}
		wantProblems(t, short(warnings, dir))
		if len(c.Listeners) != w.listeners || len(c.Destinations) != w.destinations {
			t.Errorf("%s: got %d listeners and %d destinations, want %+v", name, len(c.Listeners), len(c.Destinations), w)
		}
		if ps := Unbuilt(c); (len(ps) == 0) != w.builtWhole {
			t.Errorf("%s: got unbuilt\n%v\nwant none: %v", name, ps, w.builtWhole)
		}
	}
}

// TestFullIsFull: configs/full.toml shows every key of the schema, some of them behind a #.
func TestFullIsFull(t *testing.T) {
	b, err := os.ReadFile("../../configs/full.toml")
	if err != nil {
		t.Fatal(err)
	}
	src := regexp.MustCompile(`(?m)^# (\w+ = )`).ReplaceAllString(string(b), "$1")
	lines, _ := scanKeys(src)
	names := regexp.MustCompile(`^(tls\.certificate|listener|destination)\.[^.]+`)
	protocols := regexp.MustCompile(`\.protocol\.[^.]+\.`)
	index := regexp.MustCompile(`\[\d+\]`)
	var shown []string
	for path := range lines {
		path = names.ReplaceAllString(index.ReplaceAllString(path, ""), "$1.NAME")
		shown = append(shown, protocols.ReplaceAllString(path, ".protocol.PROTO."))
	}
	walkSchema(reflect.TypeFor[Config](), "", func(header string, table reflect.Type) {
		for _, f := range fieldsOf(table) {
			if path := join(strings.Trim(header, "[]"), f.key); !slices.Contains(shown, path) && !isTableList(table.Field(f.index).Type) {
				t.Errorf("configs/full.toml does not show %s", path)
			}
		}
	})
}

// TestUnbuilt: SPEC 9. Each row is asked for once, and minimal.toml above asks for none.
func TestUnbuilt(t *testing.T) {
	dir := newDir(t)
	built := edit(t, base, `tls = "implicit"`+"\n#listener", `tls = "plain"`+"\n#listener")
	built = strings.NewReplacer(`tls = "starttls"`, `tls = "plain"`, "port = 993\ntls = \"implicit\"", "port = 143\ntls = \"plain\"",
		"#old", "#old\nallow_plaintext_auth = true", "#new", "#new\nallow_plaintext_auth = true").Replace(built)
	const everything = "threads = 2\nhostname = \"h\"\nshutdown_grace = \"1s\"\nbridge_idle = \"1s\"\nbackend_timeout = \"1s\"\n" +
		"backend_connect_retries = 2\nproxy_ttl = 9\nlog_level = \"debug\"\nlog_format = \"json\"\nlog_accounts = true\nengine = \"epoll\"\n" +
		"half_closed = \"1s\"\nstash_limit = \"1MiB\"\nreuse_port = true\nmax_preauth = 5\nktls = \"auto\"\nmax_sessions_per_ip = 0"
	for _, tt := range []struct {
		at, text string
		want     []string
	}{
		{"#server", everything, nil},
		{"#listener", "proxy_trusted = [\"192.0.2.0/24\"]\nproxy_protocol = \"off\"\nmax_connections = 5", nil},
		{"#old", "forwarding = \"xclient\"\nsource_ips = [\"127.0.0.1\"]\nhide_auth_errors = true", nil},
		{"#leg", "[destination.old.protocol.pop3]\nport = 995\ntls = \"implicit\"", nil},
		{"#mapping", "normalize = \"lowercase\"\non_change = \"kick\"", nil},
		{"#end", "[oauth]\njwt_username_claim = \"sub\"\n[capabilities.imap]\nbanner = \"hello\"", nil},
		{"#server", "host_down_threshold = 3\nhost_down_cooldown = \"1s\"", nil},
		{"#server", "ktls = \"require\"", nil},
		{"#server", "engine = \"io_uring\"", []string{"server.engine"}},
		{"#server", "max_sessions_per_ip = 5", nil},
		{"#server", "user = \"root\"\ngroup = \"root\"", nil},
		{"#end", "[tls.protocols]\nmin_version = \"1.2\"", nil},
		{"#end", "[listener.p]\nprotocol = \"pop3\"\nbind = [\"127.0.0.1:110\"]\ntls = \"implicit\"\n[destination.old.protocol.pop3]\nport = 995\ntls = \"implicit\"", nil},
		{"#listener", "proxy_protocol = \"required\"\nproxy_trusted = [\"192.0.2.0/24\"]", nil},
		{"#end", "[destination.x]\nhost = \"h\"\ntls_ca = \"mail.pem\"\nprotocol.imap = { port = 993, tls = \"implicit\" }", nil},
		{`source = "file"`, "source = \"redis\"\n[mapping.redis]\nurl = \"redis://h\"", nil},
		{`source = "file"`, "source = \"sql\"\n[mapping.sql]\nurl = \"sqlite::memory:\"\nquery = \"SELECT ?\"", nil},
		{"#end", "[http]\nrelay_idle = \"1s\"", []string{"http"}},
		{"#end", "[metrics]\nbind = \"127.0.0.1:9464\"", nil},
	} {
		c, _ := mustParse(t, edit(t, built, tt.at, tt.text), testOptions(dir))
		var got []string
		for _, p := range Unbuilt(c) {
			if got = append(got, p.Key); p.Line == 0 || p.File != c.Path {
				t.Errorf("%s: got %s:%d, want a line of the file", p.Key, p.File, p.Line)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.text, got, tt.want)
		}
	}
}
