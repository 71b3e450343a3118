package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"mailsplice/core/logx"
)

// token is the valid bearer token, kept as a hash only.
type token struct {
	hash atomic.Pointer[[sha256.Size]byte]
}

func (t *token) set(value []byte) {
	sum := sha256.Sum256(value)
	t.hash.Store(&sum)
}

// matches compares hashes: in constant time, whatever the length of value.
func (t *token) matches(value string) bool {
	sum := sha256.Sum256([]byte(value))
	return subtle.ConstantTimeCompare(sum[:], t.hash.Load()[:]) == 1
}

// admit is the token gate. It answers the request itself when it returns false.
func (s *Server) admit(w http.ResponseWriter, r *http.Request) bool {
	addr, now := clientOf(r), s.o.Now()
	if wait := s.lockout.remaining(addr, now); wait > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((wait+time.Second-1)/time.Second), 10))
		turnAway(w, http.StatusTooManyRequests, "too many failed attempts from this address")
		return false
	}
	if given, ok := bearer(r.Header); ok && s.token.matches(given) {
		s.lockout.clear(addr)
		return true
	}
	locked := s.lockout.fail(addr, now)
	s.logRefusal(addr, now, locked)
	w.Header().Set("WWW-Authenticate", "Bearer")
	turnAway(w, http.StatusUnauthorized, "missing or wrong bearer token")
	return false
}

// turnAway also gives up the connection, so that strangers do not hold connections for idleTimeout.
func turnAway(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Connection", "close")
	fail(w, status, text)
}

func (s *Server) logRefusal(addr netip.Addr, now time.Time, locked bool) {
	if locked { // an attacker has many addresses
		if s.locked.Allow(now) {
			s.o.Log.Warn("admin address locked out", slog.Any(logx.Client, addr), slog.Duration(logx.Duration, s.o.LockoutDuration),
				slog.Uint64(logx.Count, 1+s.locked.Suppressed()))
		}
		return
	}
	if s.refused.Allow(now) {
		s.o.Log.Warn("admin token refused", slog.Any(logx.Client, addr), slog.Uint64(logx.Count, 1+s.refused.Suppressed()))
	}
}

// bearer is the token of the only Authorization header. The scheme's case does not matter (RFC 9110 11.1).
func bearer(h http.Header) (string, bool) {
	values := h.Values("Authorization")
	if len(values) != 1 {
		return "", false
	}
	scheme, token, ok := strings.Cut(values[0], " ")
	return strings.TrimSpace(token), ok && strings.EqualFold(scheme, "Bearer")
}

// clientOf is the peer's address, zero when net/http does not know it: such requests share one entry of the lockout.
func clientOf(r *http.Request) netip.Addr {
	ap, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}
