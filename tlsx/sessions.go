package tlsx

import (
	"crypto/tls"
	"slices"
	"sync"
)

// maxSessions bounds the sessions kept towards one destination and protocol: logins that begin at the same moment and
// resume one each. A session is some 1 to 2 KB.
const maxSessions = 32

// sessions is the cache of one policy: made under it, resumed under it, forgotten with it (SECURITY 25).
type sessions struct {
	mu   sync.Mutex
	list []*tls.ClientSessionState // newest last
}

// take hands out the newest. It is not offered again, since a server may take a ticket once only (RFC 8446 C.4), unless it is
// the last one: then trying costs less than not trying.
func (s *sessions) take() *tls.ClientSessionState {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.list)
	if n == 0 {
		return nil
	}
	session := s.list[n-1]
	if n > 1 {
		s.list[n-1] = nil
		s.list = s.list[:n-1]
	}
	return session
}

func (s *sessions) put(session *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.list) == maxSessions {
		s.list = slices.Delete(s.list, 0, 1)
	}
	s.list = append(s.list, session)
}

// drop forgets a session that did not work.
func (s *sessions) drop(session *tls.ClientSessionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.list, session); i >= 0 {
		s.list = slices.Delete(s.list, i, i+1)
	}
}

// dialSessions is the cache as one handshake sees it. It lets through only sessions of TLS 1.3, because resuming one of
// 1.2 logs no keys (DESIGN 3.5); which it is nobody says but VerifyConnection. It belongs to the handshake's goroutine.
type dialSessions struct {
	shared *sessions
	tls13  bool
	given  *tls.ClientSessionState
}

// Get is asked once, before the hello.
func (d *dialSessions) Get(string) (*tls.ClientSessionState, bool) {
	d.given = d.shared.take()
	return d.given, d.given != nil
}

// Put files a session; nil says that the one given was no good.
func (d *dialSessions) Put(_ string, session *tls.ClientSessionState) {
	switch {
	case session == nil:
		d.shared.drop(d.given)
	case d.tls13:
		d.shared.put(session)
	}
}
