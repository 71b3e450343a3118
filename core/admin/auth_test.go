package admin

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestToken(t *testing.T) {
	tests := []struct {
		name, header string
		status       int
	}{
		{"right", "Bearer " + testToken, 200},
		{"scheme in lower case", "bearer " + testToken, 200},
		{"blanks around", "Bearer   " + testToken + " ", 200},
		{"none", "", 401},
		{"wrong", "Bearer " + strings.Repeat("x", len(testToken)), 401},
		{"a prefix", "Bearer " + testToken[:31], 401},
		{"more than it", "Bearer " + testToken + "0", 401},
		{"long", "Bearer " + strings.Repeat("x", 100_000), 401},
		{"empty", "Bearer ", 401},
		{"scheme only", "Bearer", 401},
		{"no scheme", testToken, 401},
		{"another scheme", "Basic " + testToken, 401},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			w := b.ask("GET", "/stats", withToken(tt.header))
			if w.Code != tt.status {
				t.Errorf("got %d, want %d", w.Code, tt.status)
			}
			if tt.status == 401 {
				wantAnswer(t, w, 401, `{"error":"missing or wrong bearer token"}`)
				if got := w.Header().Get("WWW-Authenticate"); got != "Bearer" {
					t.Errorf("WWW-Authenticate: got %q, want Bearer", got)
				}
			}
			if strings.Contains(b.log.String(), testToken[:31]) {
				t.Errorf("the log holds the token: %s", b.log)
			}
		})
	}
}

func TestTwoTokensAreNone(t *testing.T) {
	w := newBench(t).ask("GET", "/stats", func(r *http.Request) { r.Header.Add("Authorization", "Bearer x") })
	if w.Code != 401 {
		t.Errorf("got %d, want 401", w.Code)
	}
}

func TestTokenComesFirst(t *testing.T) {
	for _, target := range []string{"/nothing", "/mappings?identifier=a", "/mappings?bad=%zz"} {
		if got := newBench(t).ask("PATCH", target, withToken("")).Code; got != 401 {
			t.Errorf("%s: got %d, want 401", target, got)
		}
	}
}

func TestSetToken(t *testing.T) {
	b := newBench(t)
	next := []byte("another token, as long as it takes")
	b.SetToken(next)
	clear(next) // the caller's copy is no longer needed
	if got := b.ask("GET", "/stats").Code; got != 401 {
		t.Errorf("old token: got %d, want 401", got)
	}
	if got := b.ask("GET", "/stats", withToken("Bearer another token, as long as it takes")).Code; got != 200 {
		t.Errorf("new token: got %d, want 200", got)
	}
}

// step is a request in a story about the lockout: a wait, then a token from an address, then the answer.
type step struct {
	wait   time.Duration
	token  string
	client string
	status int
	retry  string
}

func TestLockout(t *testing.T) {
	const good, bad, a, b6 = "Bearer " + testToken, "Bearer x", "192.0.2.1:1", "[2001:db8::1]:1"
	tests := []struct {
		name  string
		steps []step
	}{
		{"after three failures, with the right token too", []step{{0, bad, a, 401, ""}, {0, "", a, 401, ""}, {0, bad, a, 401, ""}, {0, good, a, 429, "60"}, {0, bad, a, 429, "60"}}},
		{"retry-after is rounded up", []step{{0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {500 * time.Millisecond, good, a, 429, "60"}, {59 * time.Second, good, a, 429, "1"}}},
		{"it ends", []step{{0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {time.Minute, good, a, 200, ""}}},
		{"it starts over", []step{{0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {time.Minute, bad, a, 401, ""}, {0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {0, bad, a, 429, "60"}}},
		{"attempts while locked do not prolong it", []step{{0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {30 * time.Second, bad, a, 429, "30"}, {30 * time.Second, good, a, 200, ""}}},
		{"success clears", []step{{0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {0, good, a, 200, ""}, {0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {0, good, a, 200, ""}}},
		{"old failures do not count", []step{{0, bad, a, 401, ""}, {40 * time.Second, bad, a, 401, ""}, {21 * time.Second, bad, a, 401, ""}, {0, good, a, 200, ""}}},
		{"failures count over a sliding span", []step{{0, bad, a, 401, ""}, {50 * time.Second, bad, a, 401, ""}, {20 * time.Second, bad, a, 401, ""}, {20 * time.Second, bad, a, 401, ""}, {0, good, a, 429, "60"}}},
		{"others are served", []step{{0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {0, bad, a, 401, ""}, {0, good, "192.0.2.2:1", 200, ""}}},
		{"other ports are the same client", []step{{0, bad, a, 401, ""}, {0, bad, "192.0.2.1:2", 401, ""}, {0, bad, "192.0.2.1:3", 401, ""}, {0, good, "192.0.2.1:4", 429, "60"}}},
		{"mapped addresses are IPv4", []step{{0, bad, a, 401, ""}, {0, bad, "[::ffff:192.0.2.1]:1", 401, ""}, {0, bad, a, 401, ""}, {0, good, a, 429, "60"}}},
		{"a /64 is one client", []step{{0, bad, b6, 401, ""}, {0, bad, "[2001:db8::2]:1", 401, ""}, {0, bad, "[2001:db8::3]:1", 401, ""}, {0, good, "[2001:db8::4]:1", 429, "60"}, {0, good, "[2001:db8:0:1::1]:1", 200, ""}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			for i, s := range tt.steps {
				b.now = b.now.Add(s.wait)
				w := b.ask("GET", "/stats", withToken(s.token), from(s.client))
				if got := w.Header().Get("Retry-After"); w.Code != s.status || got != s.retry {
					t.Fatalf("step %d: got %d Retry-After %q, want %d %q", i, w.Code, got, s.status, s.retry)
				}
			}
		})
	}
}

func TestLockedOutAnswer(t *testing.T) {
	b := newBench(t)
	for range 3 {
		b.ask("GET", "/stats", withToken(""))
	}
	wantAnswer(t, b.ask("GET", "/stats"), http.StatusTooManyRequests, `{"error":"too many failed attempts from this address"}`)
	if got := b.ask("GET", "/healthz").Code; got != 200 {
		t.Errorf("healthz: got %d, want 200", got)
	}
	if got := strings.Count(b.log.String(), "admin address locked out"); got != 1 {
		t.Errorf("got %d lines about the lockout, want 1", got)
	}
}

func TestRefusalsAreLoggedOnceASecond(t *testing.T) {
	b := newBench(t)
	for i := range 50 {
		b.ask("GET", "/stats", withToken("Bearer x"), from(fmt.Sprintf("192.0.2.%d:1", i)))
	}
	if got := strings.Count(b.log.String(), "admin token refused"); got != 1 {
		t.Errorf("got %d lines, want 1", got)
	}
}

func addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

func TestLockoutTableIsBounded(t *testing.T) {
	l := newLockout(2, time.Minute)
	now := time.Unix(1_000_000, 0)
	locked := addr(0)
	l.fail(locked, now)
	l.fail(locked, now)
	for i := range 3 * maxAddresses {
		l.fail(addr(i+1), now.Add(time.Duration(i)*time.Millisecond))
		if len(l.clients) > maxAddresses {
			t.Fatalf("after %d addresses: got %d entries, want at most %d", i+2, len(l.clients), maxAddresses)
		}
	}
	if got := l.remaining(locked, now.Add(time.Second)); got != 59*time.Second {
		t.Errorf("the locked address: got %v left, want 59s", got)
	}
	if newest := addr(3 * maxAddresses); l.clients[newest] == nil {
		t.Errorf("the newest failure is not counted")
	}
}

func TestLockoutTableForgetsTheExpired(t *testing.T) {
	l := newLockout(1, time.Minute)
	now := time.Unix(1_000_000, 0)
	for i := range maxAddresses {
		l.fail(addr(i), now)
	}
	l.fail(addr(maxAddresses), now.Add(time.Minute))
	if got, want := len(l.clients), maxAddresses-sampled+1; got != want {
		t.Errorf("got %d entries, want %d", got, want)
	}
}
