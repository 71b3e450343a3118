package mailfake

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strconv"
)

// bulkBlock is how much XSOURCE, XSINK and XECHO move at a time.
const bulkBlock = 64 << 10

// count reads the byte count of a bulk command.
func (c *command) count() (int64, bool) {
	t, ok := c.word()
	n, err := strconv.ParseInt(t.value, 10, 64)
	return n, ok && err == nil && n >= 0 && n <= maxBulkBytes
}

// source sends N pseudo-random bytes.
func (i *imapSession) source(c *command) error {
	n, ok := c.count()
	t, ok2 := c.word()
	seed, err := strconv.ParseUint(t.value, 10, 64)
	if !ok || !ok2 || err != nil {
		return i.bad("XSOURCE needs a count and a seed")
	}
	if err := i.printf("* SOURCE %d", n); err != nil {
		return err
	}
	return i.move(n, Pattern(seed), writerFunc(i.writeBytes))
}

// sink takes N bytes.
func (i *imapSession) sink(c *command) error {
	n, ok := c.count()
	if !ok {
		return i.bad("XSINK needs a count")
	}
	return i.move(n, i.r, writerFunc(func([]byte) error { return nil }))
}

// echo sends N bytes back as they come.
func (i *imapSession) echo(c *command) error {
	n, ok := c.count()
	if !ok {
		return i.bad("XECHO needs a count")
	}
	return i.move(n, i.r, writerFunc(i.writeBytes))
}

type writerFunc func([]byte) error

// move passes n bytes from r to w and answers with their checksum.
func (i *imapSession) move(n int64, r io.Reader, w writerFunc) error {
	sum := sha256.New()
	buf := make([]byte, bulkBlock)
	for n > 0 {
		if _, err := i.hook(OnData); err != nil {
			return err
		}
		k, err := r.Read(buf[:min(n, bulkBlock)])
		if err != nil {
			return err
		}
		_, _ = sum.Write(buf[:k])
		if err := w(buf[:k]); err != nil {
			return err
		}
		n -= int64(k)
	}
	return i.ok(fmt.Sprintf("sha256=%x", sum.Sum(nil)))
}
