package naive

import (
	"io"
	"net"
	"sync"
)

// copyBytes is the size of a copy buffer, that of io.Copy.
const copyBytes = 32 << 10

var buffers = sync.Pool{New: func() any { return new([copyBytes]byte) }}

// copy moves bytes both ways until both directions have ended.
func (j *join) copy() {
	if j.flush() != nil {
		return
	}
	j.fromClient, j.fromBackend = nil, nil
	done := make(chan struct{})
	go upwards(j.backend, j.client, done) // ends with the client's leg
	oneWay(j.client, j.backend)
	<-done
}

func upwards(to, from net.Conn, done chan<- struct{}) {
	defer close(done)
	oneWay(to, from)
}

// oneWay copies until from ends, and passes the end on. A failure ends both directions.
func oneWay(to, from net.Conn) {
	buf := buffers.Get().(*[copyBytes]byte)
	defer buffers.Put(buf)
	_, err := io.CopyBuffer(writeOnly{to}, readOnly{from}, buf[:])
	half, ok := to.(interface{ CloseWrite() error })
	if err == nil && ok && half.CloseWrite() == nil {
		return
	}
	to.Close()
	from.Close()
}
