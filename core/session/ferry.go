package session

import (
	"crypto/tls"
	"errors"
	"io"
	"sync"
	"time"

	"mailsplice/core/engine"
)

// ferryBytes is what each direction of a leg in lane conn carries at once: one record.
const ferryBytes = 16 << 10

// ferry carries a leg that stays with crypto/tls (lane conn, DESIGN 3.11): two goroutines between its tls.Conn and a pair
// of sockets, whose other end the loop holds like a plain leg. It costs two descriptors and 32 KiB more than a leg
// whose keys were taken over; CBC suites are what needs it.
type ferry struct {
	conn   *tls.Conn
	socket *engine.Park // below conn
	pair   *engine.Park // our end of the pair
}

// ferry starts one and returns the loop's end, which nothing watches yet. On an error the socket is still the caller's. The
// goroutines end when both directions have, when the loop's end is closed, or with the engine.
func (s *Sessions) ferry(l *engine.Loop, conn *tls.Conn, socket *engine.Park) (end int, err error) {
	end, pair, err := l.Pair()
	if err != nil {
		return -1, err
	}
	conn.SetDeadline(time.Time{})
	f := &ferry{conn: conn, socket: socket, pair: pair}
	s.ferries.Add(1)
	go f.run(&s.ferries)
	return end, nil
}

// run is the one goroutine, which starts the other, waits for it, and closes what both use.
func (f *ferry) run(done *sync.WaitGroup) {
	defer done.Done()
	up := make(chan struct{})
	go func() { // ends with the client's or backend's input, or when down interrupts
		defer close(up)
		f.up()
	}()
	f.down()
	<-up
	f.socket.Close()
	f.pair.Close()
}

// up carries from the network to the loop. The end of the input is passed on; a broken connection ends both directions.
func (f *ferry) up() {
	buf := make([]byte, ferryBytes)
	defer clear(buf)
	for {
		n, err := f.conn.Read(buf)
		if n > 0 {
			if _, failed := f.pair.Write(buf[:n]); failed != nil {
				f.socket.Interrupt()
				return
			}
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF): // with close_notify, or FIN alone
			f.pair.CloseWrite() // fails if down was first, which then ends this all
			return
		default:
			f.pair.Interrupt()
			return
		}
	}
}

// down carries from the loop to the network. It stays until the loop has closed its end, since only then is nobody left
// to read what up brings.
func (f *ferry) down() {
	buf := make([]byte, ferryBytes)
	defer clear(buf)
	for {
		n, err := f.pair.Read(buf)
		if n == 0 || err != nil {
			break
		}
		if _, err := f.conn.Write(buf[:n]); err != nil {
			f.pair.Interrupt()
			break
		}
	}
	if f.conn.CloseWrite() == nil {
		f.socket.CloseWrite()
	}
	f.pair.WaitGone()
	f.socket.Interrupt()
}
