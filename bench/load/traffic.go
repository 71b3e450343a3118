package load

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"time"
)

const pieceBytes = 64 << 10

// ping does round trips until the time is over. A session that fails is not used again.
func (h *holder) ping(a PingArgs) (Reply, error) {
	clients, err := h.first(a.Sessions)
	if err != nil {
		return Reply{}, err
	}
	end := time.Now().Add(a.For)
	for _, c := range clients {
		c.conn.SetDeadline(end.Add(ioTimeout))
	}
	if a.Every > 0 {
		a.AtOnce = a.Sessions
	}
	n := min(a.AtOnce, a.Sessions)
	return workers(n, func(w int, r *Reply) {
		var share []*client
		for i := w; i < len(clients); i += n {
			share = append(share, clients[i])
		}
		if a.Every > 0 {
			// The sessions' first round trips are spread over one period.
			pace(share[0], a.Every, a.Every*time.Duration(w)/time.Duration(n), end, r)
			return
		}
		around(share, end, r)
	}), nil
}

// around goes from one session to the next.
func around(share []*client, end time.Time, r *Reply) {
	for i := 0; ; i++ {
		start := time.Now()
		if !start.Before(end) {
			return
		}
		if err := share[i%len(share)].noop(); err != nil {
			r.fail(err)
			return
		}
		r.Done++
		r.Latency.Add(time.Since(start))
	}
}

// pace is round trips at fixed times, however long each takes: one that is late counts from when it was due, so that a
// stall is seen by every round trip that it held up.
func pace(c *client, every, offset time.Duration, end time.Time, r *Reply) {
	due := time.Now().Add(offset)
	timer := time.NewTimer(offset)
	defer timer.Stop()
	for due.Before(end) {
		<-timer.C
		if err := c.noop(); err != nil {
			r.fail(err)
			return
		}
		r.Done++
		r.Latency.Add(time.Since(due))
		due = due.Add(every)
		timer.Reset(time.Until(due))
	}
}

// bulk moves bytes on several sessions at once.
func (h *holder) bulk(a BulkArgs) (Reply, error) {
	clients, err := h.first(a.Streams)
	if err != nil {
		return Reply{}, err
	}
	return workers(a.Streams, func(w int, r *Reply) {
		move := clients[w].download
		if a.Up {
			move = clients[w].upload
		}
		if err := move(a.Bytes); err != nil {
			r.fail(err)
			return
		}
		r.Done++
		r.Bytes += a.Bytes
	}), nil
}

func (c *client) download(n int64) error {
	if err := c.exchange(fmt.Sprintf("b XSOURCE %d\r\n", n), "* SOURCE"); err != nil {
		return err
	}
	buf := make([]byte, pieceBytes)
	for n > 0 {
		c.conn.SetReadDeadline(time.Now().Add(ioTimeout))
		m, err := c.in.Read(buf[:min(n, pieceBytes)])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	_, err := c.until("b OK")
	return err
}

func (c *client) upload(n int64) error {
	if _, err := fmt.Fprintf(c.conn, "b XSINK %d\r\n", n); err != nil {
		return err
	}
	buf := make([]byte, pieceBytes)
	for n > 0 {
		c.conn.SetWriteDeadline(time.Now().Add(ioTimeout))
		m, err := c.conn.Write(buf[:min(n, pieceBytes)])
		if err != nil {
			return err
		}
		n -= int64(m)
	}
	c.conn.SetReadDeadline(time.Now().Add(ioTimeout))
	_, err := c.until("b OK")
	return err
}

// sweep goes over all sessions once.
func (h *holder) sweep(a SweepArgs) (Reply, error) {
	n := max(a.AtOnce, 1)
	return workers(n, func(w int, r *Reply) {
		for i := w; i < len(h.clients); i += n {
			start := time.Now()
			if err := h.clients[i].stir(); err != nil {
				r.fail(fmt.Errorf("session %d of this process: %w", i, err))
				continue
			}
			r.Done++
			r.Latency.Add(time.Since(start))
		}
	}), nil
}

// stir is a NOOP of a session that idles.
func (c *client) stir() error {
	if err := c.exchange("DONE\r\n", "i OK"); err != nil {
		return err
	}
	if err := c.exchange("n NOOP\r\n", "n OK"); err != nil {
		return err
	}
	return c.idle()
}

// await waits on every session for a pushed line. The latency is from its departure to its arrival.
func (h *holder) await(a AwaitArgs) (Reply, error) {
	end := time.Now().Add(a.Within)
	return workers(len(h.clients), func(w int, r *Reply) {
		if w >= len(h.clients) {
			return
		}
		c := h.clients[w]
		c.conn.SetReadDeadline(end)
		line, err := c.until("* OK pushed ")
		if err != nil {
			r.fail(err)
			return
		}
		departed, err := strconv.ParseInt(string(line[bytes.LastIndexByte(line, ' ')+1:]), 10, 64)
		if err != nil {
			r.fail(err)
			return
		}
		r.Latency.Add(time.Since(time.Unix(0, departed)))
		r.Done++
	}), nil
}

// follow waits for the end of every session, and logs in again at once. The latency is from the end to the new login.
func (h *holder) follow(a FollowArgs) (Reply, error) {
	end := time.Now().Add(a.Within)
	return workers(len(h.clients), func(w int, r *Reply) {
		if w >= len(h.clients) {
			return
		}
		old := h.clients[w]
		old.conn.SetReadDeadline(end)
		_, err := io.Copy(io.Discard, old.in)
		old.conn.Close()
		if err != nil {
			r.fail(fmt.Errorf("session %d did not end cleanly: %w", a.First+w, err))
			return
		}
		start := time.Now()
		c, _, err := a.open(a.First+w, nil)
		if err != nil {
			r.fail(err)
			return
		}
		h.clients[w] = c
		r.Done++
		r.Latency.Add(time.Since(start))
		r.Homes = map[string]int{c.home: 1}
	}), nil
}
