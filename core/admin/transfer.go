package admin

import (
	"io"
	"net/http"
	"time"
)

// Times of the calls that move or walk a whole mapping source, in place of requestTimeout.
const (
	transferTimeout = 10 * time.Minute
	stallTimeout    = 30 * time.Second // for one piece of a body, read or written
)

// gate bounds how many calls of a kind are under way.
type gate chan struct{}

// enter takes a place without waiting for one. Who got it leaves.
func (g gate) enter() bool {
	select {
	case g <- struct{}{}:
		return true
	default:
		return false
	}
}

func (g gate) leave() { <-g }

// transfer moves the deadlines of a request along while it makes progress, up to its end. A connection that has none of
// its own, as in tests, is left alone: the errors say only that.
type transfer struct {
	c   *http.ResponseController
	end time.Time
}

// transfer begins; the deadlines are the connection's, hence by the machine's clock.
func (r *request) transfer() transfer {
	t := transfer{http.NewResponseController(r.w), time.Now().Add(transferTimeout)}
	t.c.SetReadDeadline(t.end)
	t.c.SetWriteDeadline(t.end.Add(requestTimeout)) // time to answer when end has come
	return t
}

// next is the deadline of one more piece.
func (t transfer) next() time.Time {
	if d := time.Now().Add(stallTimeout); d.Before(t.end) {
		return d
	}
	return t.end
}

// answering leaves the usual time for a short answer.
func (t transfer) answering() { t.c.SetWriteDeadline(time.Now().Add(requestTimeout)) }

// pieces reads a request's body piece by piece.
type pieces struct {
	transfer
	from io.Reader
}

func (b pieces) Read(p []byte) (int, error) {
	b.c.SetReadDeadline(b.next())
	return b.from.Read(p)
}

// sink is the answer of a call that writes it by itself. The headers go out with the first piece, so that an error before
// it still gets its status.
type sink struct {
	transfer
	r     *request
	media string
}

func (s *sink) Write(p []byte) (int, error) {
	if !s.r.sent {
		header(s.r.w, s.media)
		s.r.sent = true
	}
	s.c.SetWriteDeadline(s.next())
	return s.r.w.Write(p)
}
