package file

import (
	"bytes"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// maxVectors is how many pieces writev(2) takes at once (IOV_MAX).
const maxVectors = 1024

// writeAll writes pieces one behind the other without copying them.
func writeAll(f *os.File, pieces [][]byte) error {
	fd := int(f.Fd())
	for len(pieces) > 0 {
		part := pieces[:min(len(pieces), maxVectors)]
		want := 0
		for _, p := range part {
			want += len(p)
		}
		n, err := unix.Writev(fd, part)
		if err != nil && err != unix.EINTR {
			return os.NewSyscallError("writev", err)
		}
		if n == want {
			pieces = pieces[len(part):]
			continue
		}
		pieces = behind(pieces, max(n, 0))
	}
	return nil
}

// behind is pieces without their first n bytes.
func behind(pieces [][]byte, n int) [][]byte {
	for len(pieces) > 0 && n >= len(pieces[0]) {
		n -= len(pieces[0])
		pieces = pieces[1:]
	}
	if n == 0 {
		return pieces
	}
	return append([][]byte{pieces[0][n:]}, pieces[1:]...)
}

// compareBytes is how much is read at once to be compared.
const compareBytes = 256 << 10

// holds tells whether r is exactly the pieces.
func holds(r io.Reader, pieces [][]byte) bool {
	buf, at := make([]byte, compareBytes), 0 // in the first piece
	for {
		n, err := r.Read(buf)
		for p := buf[:n]; len(p) > 0; {
			if len(pieces) == 0 {
				return false
			}
			k := min(len(p), len(pieces[0])-at)
			if !bytes.Equal(p[:k], pieces[0][at:at+k]) {
				return false
			}
			if p, at = p[k:], at+k; at == len(pieces[0]) {
				pieces, at = pieces[1:], 0
			}
		}
		if err != nil {
			return err == io.EOF && len(pieces) == 0
		}
	}
}
