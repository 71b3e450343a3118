package interop

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// admin makes one call of the admin API as an administrator types it (SPEC 8), and gives status and answer.
func (p *mailProxy) call(t *testing.T, method, path string, args ...string) (status, answer string) {
	t.Helper()
	args = append([]string{"-sS", "--max-time", "20", "--cacert", p.path("cert.pem"), "-H", "@" + p.path("header"), "-X", method,
		"-w", "\n%{http_code}", fmt.Sprintf("https://%s%s", p.admin, path)}, args...)
	out, code := runProgram(t, "", nil, "curl", args...)
	cut := strings.LastIndexByte(string(out), '\n')
	if code != 0 || cut < 0 {
		t.Fatalf("%s %s: curl's status %d, answer %q", method, path, code, out)
	}
	return string(out[cut+1:]), string(out[:cut])
}

// series is what /metrics says of the families that begin with a name, by series (SPEC 10).
func (p *mailProxy) series(t *testing.T, family string) map[string]float64 {
	t.Helper()
	status, text := p.call(t, "GET", "/metrics")
	if status != "200" {
		t.Fatalf("GET /metrics: %s %s", status, text)
	}
	found := map[string]float64{}
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, " ")
		var value float64
		if _, err := fmt.Sscan(rest, &value); err == nil && strings.HasPrefix(name, "mailsplice_"+family) {
			found[strings.TrimPrefix(name, "mailsplice_")] = value
		}
	}
	return found
}

// checkTakeovers wants no handshake to have stayed with crypto/tls (DESIGN 3.11).
func (s *mailStage) checkTakeovers(t *testing.T) {
	t.Helper()
	for name, value := range s.proxy.series(t, "takeover_failed_total") {
		if value != 0 {
			t.Errorf("got %s %v, want 0", name, value)
		}
	}
	if got := s.proxy.series(t, `login_phase_seconds_count{phase="backend_tls"}`); len(got) != 1 {
		t.Errorf("got series %v, want one that counts handshakes with backends", got)
	}
}

// checkLanes wants every session of the run to have been on lane record, in every protocol.
func (s *mailStage) checkLanes(t *testing.T) {
	t.Helper()
	s.checkTakeovers(t)
	ended := map[string]int{}
	for line := range strings.Lines(grep(s.proxy.logText(), `msg="session ended"`)) {
		for _, protocol := range []string{"imap", "pop3", "managesieve", "submission"} {
			if strings.Contains(line, "protocol="+protocol+" ") {
				ended[protocol]++
			}
		}
		if !strings.Contains(line, "mode=record ") {
			t.Errorf("not on lane record: %s", line)
		}
	}
	if len(ended) != 4 {
		t.Errorf("got sessions %v, want some of each protocol", ended)
	}
}
