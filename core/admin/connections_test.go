package admin

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// shownSession is the example of SPEC 8, its last paragraph.
var shownSession = Connection{ID: "4f1c-1", Account: "alice@example.org", Protocol: "imap", Listener: "imaps", Destination: "legacy",
	Client: netip.MustParseAddrPort("203.0.113.7:4567"), Since: time.Date(2025, 1, 1, 13, 0, 0, 500, time.FixedZone("", 3600)),
	BytesIn: 12, BytesOut: 1 << 40, ClientTLS: "TLS 1.3 TLS_AES_128_GCM_SHA256", BackendTLS: "TLS 1.2 X", Lane: "record", Master: true}

const shownJSON = `{"id":"4f1c-1","identifier":"alice@example.org","protocol":"imap","listener":"imaps","destination":"legacy",` +
	`"client":"203.0.113.7:4567","since":"2025-01-01T12:00:00Z","bytes_in":12,"bytes_out":1099511627776,` +
	`"client_tls":"TLS 1.3 TLS_AES_128_GCM_SHA256","backend_tls":"TLS 1.2 X","lane":"record","master":true}`

func TestConnectionsAsTheSpecShowsThem(t *testing.T) {
	b := newBench(t)
	b.sessions.list = []Connection{shownSession, {}}
	wantAnswer(t, b.ask("GET", "/connections?limit=1"), 200, `{"connections":[`+shownJSON+`],"total":2}`)
}

func TestConnectionsSelects(t *testing.T) {
	tests := []struct {
		name, query string
		filter      Filter
		limit       int
	}{
		{"all", "", Filter{}, defaultListed},
		{"identifier", "?identifier=Bob", Filter{Account: "bob@example.org"}, defaultListed},
		{"destination", "?destination=gone", Filter{Destination: "gone"}, defaultListed},
		{"all three", "?identifier=a+b@c&destination=old&limit=7", Filter{Account: "a+b@c", Destination: "old"}, 7},
		{"count only", "?limit=0", Filter{}, 0},
		{"most", "?limit=10000", Filter{}, 10_000},
		{"more than most", "?limit=10001", Filter{}, 10_000},
		{"more than any number", "?limit=18446744073709551616", Filter{}, 10_000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.ask("GET", "/connections"+tt.query)
			if got, want := fmt.Sprint(b.sessions.asked), fmt.Sprint([]any{tt.filter, tt.limit}); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestHoldsAreTold(t *testing.T) {
	tests := []struct{ name, target, want string }{
		{"delay", "/connections/delay?identifier=Bob&seconds=20", "delay bob@example.org 20s"},
		{"clamped", "/connections/delay?identifier=a%25m@b&seconds=100000", "delay a%m@b 5m0s"},
		{"delay removed", "/connections/delay?identifier=Bob&seconds=0", "delay bob@example.org 0s"},
		{"hold", "/connections/hold?identifier=a@b&seconds=86400", "hold a@b 24h0m0s"},
		{"hold removed", "/connections/hold/?seconds=00&identifier=a@b", "hold a@b 0s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			w := b.ask("POST", tt.target)
			if got, want := fmt.Sprint(w.Code, b.sessions.held), fmt.Sprint(200, []string{tt.want}); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}

func TestSessionErrors(t *testing.T) {
	tests := []struct {
		name, method, target string
		err                  error
		status               int
		want                 string
	}{
		{"list", "GET", "/connections", errors.New("no loop answers"), 500, `{"error":"no loop answers"}`},
		{"delay", "POST", "/connections/delay?identifier=a&seconds=1", ErrBusy, 503, `{"error":"delaying logins: too much of this is under way, try later"}`},
		{"hold", "POST", "/connections/hold?identifier=a&seconds=1", ErrBusy, 503, `{"error":"holding logins: too much of this is under way, try later"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.sessions.err = tt.err
			wantAnswer(t, b.ask(tt.method, tt.target), tt.status, tt.want)
		})
	}
}

func TestConfigReload(t *testing.T) {
	tests := []struct {
		name    string
		restart []string
		err     error
		status  int
		want    string
	}{
		{"restart needed", []string{"threads", "log_format"}, nil, 200, `{"reloaded":true,"restart_needed":["threads","log_format"]}`},
		{"every error", nil, fmt.Errorf("reloading m.toml: %w", Problems{"m.toml:3: a", "m.toml:9: b"}), 400, `{"error":"reloading m.toml: refused as a whole, nothing changed","problems":["m.toml:3: a","m.toml:9: b"]}`},
		{"unreadable", nil, errors.New("reading m.toml: permission denied"), 500, `{"error":"reading m.toml: permission denied"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.restart, b.reload = tt.restart, tt.err
			wantAnswer(t, b.ask("POST", "/config/reload"), tt.status, tt.want)
		})
	}
}

func TestUnmapped(t *testing.T) {
	b := newBench(t)
	b.unmapped = []Unmapped{{"bob@example.org", shownSession.Since}, {"al", time.Unix(0, 0)}}
	wantAnswer(t, b.ask("GET", "/mappings/unmapped"), 200,
		`{"unmapped":[{"identifier":"bob@example.org","seen":"2025-01-01T12:00:00Z"},{"identifier":"al","seen":"1970-01-01T00:00:00Z"}]}`)
}

func TestInvalidateTells(t *testing.T) {
	tests := []struct{ name, target, want string }{
		{"one, as written", "/cache/invalidate?identifier=Bob%25m", "[Bob%m]"},
		{"all", "/cache/invalidate/", "[*]"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.mappings.readOnly = true // no obstacle
			w := b.ask("POST", tt.target)
			if got := fmt.Sprint(b.mappings.forgot); w.Code != 200 || got != tt.want {
				t.Errorf("got %d %s, want 200 %s", w.Code, got, tt.want)
			}
		})
	}
}

func TestLackingComesBeforeParameters(t *testing.T) {
	tests := []struct{ name, method, target, want string }{
		{"destinations", "GET", "/destinations?x=y", `{"error":"the health of destinations is not kept here"}`},
		{"reset", "POST", "/destinations/reset", `{"error":"the health of destinations is not kept here"}`},
		{"export", "GET", "/mappings/export?x=y", `{"error":"the mapping source cannot list its mappings"}`},
		{"summary", "GET", "/mappings/summary?x=y", `{"error":"the mapping source cannot list its mappings"}`},
		{"unmapped", "GET", "/mappings/unmapped?x=y", `{"error":"identifiers without a mapping are not remembered here"}`},
		{"bulk of a read-only source", "POST", "/mappings/bulk?kick=x", `{"error":"the mapping source is read-only"}`},
		{"connections", "GET", "/connections?limit=x", `{"error":"sessions cannot be listed here"}`},
		{"delay", "POST", "/connections/delay", `{"error":"logins cannot be delayed or held here"}`},
		{"hold", "POST", "/connections/hold", `{"error":"logins cannot be delayed or held here"}`},
		{"configuration", "POST", "/config/reload?x=y", `{"error":"the configuration cannot be reloaded here"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.lackAll()
			wantAnswer(t, b.ask(tt.method, tt.target), 501, tt.want)
		})
	}
	b := newBench(t)
	b.o.Bulk = nil
	wantAnswer(t, b.ask("POST", "/mappings/bulk?kick=x"), 501, `{"error":"the mapping source cannot be written to in one piece"}`)
}
