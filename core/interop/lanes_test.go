package interop

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// lane is what every session of the stage must run on (DESIGN 3.11).
func (s *stage) lane() string {
	if s.tls {
		return "record"
	}
	return "plain"
}

// laneOf is the same for an account whose client or backend insists on its suite.
func (s *stage) laneOf(name string) string {
	if lane := s.lanes[name]; lane != "" {
		return lane
	}
	return s.lane()
}

// trust is the settings of a client that verifies the proxy.
func (p *proxy) trust(t *testing.T) *tls.Config {
	t.Helper()
	text, err := os.ReadFile(p.path("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		t.Fatal("the proxy's certificate is no PEM")
	}
	return &tls.Config{RootCAs: roots, ServerName: proxyHost}
}

// metrics is what the proxy's /metrics says, by series without the prefix (SPEC 10).
func (s *stage) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	token, err := os.ReadFile(s.proxy.path("token"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("https://%s/metrics", s.proxy.admin), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	c := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{TLSClientConfig: s.proxy.trust(t), DisableKeepAlives: true}}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("GET /metrics: got %s, %v", resp.Status, err)
	}
	series := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(line, "mailsplice_"), " ")
		var value float64
		if _, err := fmt.Sscan(rest, &value); err == nil {
			series[name] = value
		}
	}
	return series
}

// checkGauge wants a live session at home to be counted on its lane, and none on another.
func (s *stage) checkGauge(t *testing.T, home string) {
	t.Helper()
	if s.proxy == nil {
		return
	}
	lanes, here := 0, 0.0
	for name, value := range s.metrics(t) {
		if !strings.HasPrefix(name, "sessions{") {
			continue
		}
		lanes++
		_, lane, _ := strings.Cut(name, `lane="`)
		lane, _, _ = strings.Cut(lane, `"`)
		ours := begun(lane) == s.lane()
		if ours && strings.Contains(name, fmt.Sprintf("destination=%q", home)) {
			here += value
		}
		if !ours && value != 0 {
			t.Errorf("got %s %v, want all sessions on lane %s", name, value, s.lane())
		}
	}
	if lanes == 0 || here < 1 {
		t.Errorf("got %d gauges of sessions, %v of them at %s on lane %s", lanes, here, home, s.lane())
	}
}

// begun is the lane that a session began on: one in the clear that moves much is spliced (DESIGN 4).
func begun(lane string) string {
	if lane == "splice" {
		return "plain"
	}
	return lane
}

// checkLanes wants the log to tell for each account that was seen logged in on which lane its session has run.
func (s *stage) checkLanes(t *testing.T) {
	t.Helper()
	if s.proxy == nil {
		return
	}
	for _, a := range s.seen {
		words := []string{`msg="session ended"`, "account=" + a.name + " ", "mode=" + s.laneOf(a.name) + " "}
		spliced := append(words[:2:2], "mode=splice ")
		if !poll(logTimeout, func() bool {
			return hasLine(s.proxy.logText(), words) || s.laneOf(a.name) == "plain" && hasLine(s.proxy.logText(), spliced)
		}) {
			t.Errorf("the proxy's log has no line with %q; about the account:\n%s", words, grep(s.proxy.logText(), a.name))
		}
	}
}

func hasLine(text string, words []string) bool {
	for line := range strings.Lines(text) {
		if holdsAll(line, words) {
			return true
		}
	}
	return false
}

// checkTakeovers wants that no handshake of the run stayed with crypto/tls, and no session on another lane (DESIGN 3.11).
func (s *stage) checkTakeovers(t *testing.T) {
	t.Helper()
	m := s.metrics(t)
	for name, value := range m {
		if strings.HasPrefix(name, "takeover_failed_total") && value != 0 {
			t.Errorf("got %s %v, want 0", name, value)
		}
	}
	ended := strings.Count(s.proxy.logText(), `msg="session ended"`)
	for line := range strings.Lines(grep(s.proxy.logText(), `msg="session ended"`)) {
		_, name, _ := strings.Cut(line, "account=")
		name, _, _ = strings.Cut(name, " ")
		if !strings.Contains(line, "mode="+s.laneOf(name)+" ") {
			t.Errorf("not on lane %s: %s", s.laneOf(name), line)
		}
	}
	for _, phase := range []string{"tls", "backend_tls"} {
		if got := m[fmt.Sprintf("login_phase_seconds_count{phase=%q}", phase)]; int(got) < ended || ended == 0 {
			t.Errorf("got %v handshakes in phase %s for %d sessions", got, phase, ended)
		}
	}
}
