package mailfake

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
)

// pattern yields endless pseudo-random bytes (xorshift64), cheap enough not to be what a bulk test measures.
type pattern struct {
	x    uint64
	word uint64
	left int
}

// Pattern is an endless reader of bytes that depend on seed alone, for transfers whose checksum both ends know.
func Pattern(seed uint64) io.Reader { return &pattern{x: seed*0x9e3779b97f4a7c15 | 1} }

func (p *pattern) Read(b []byte) (int, error) {
	for i := range b {
		if p.left == 0 {
			p.x ^= p.x << 13
			p.x ^= p.x >> 7
			p.x ^= p.x << 17
			p.word, p.left = p.x, 8
		}
		b[i] = byte(p.word)
		p.word >>= 8
		p.left--
	}
	return len(b), nil
}

// PatternSum is the hex SHA-256 of the first n bytes of Pattern(seed).
func PatternSum(n int64, seed uint64) string {
	h := sha256.New()
	// Neither a Pattern nor a hash ever fails.
	_, _ = io.CopyN(h, Pattern(seed), n)
	return hex.EncodeToString(h.Sum(nil))
}

// generatedHead begins every generated message; its length does not depend on the size, up to a terabyte.
const generatedHead = "From: mailfake@example.org\r\nTo: you@example.org\r\nSubject: generated %012d\r\n" +
	"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\nMessage-ID: <generated-%012d@example.org>\r\n\r\n"

// lines is the body of a generated message: printable lines of 78 bytes with CRLF, different all along.
type lines struct {
	random io.Reader
	line   []byte
	rest   []byte
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func (l *lines) Read(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if len(l.rest) == 0 {
			l.refill()
		}
		k := copy(b[n:], l.rest)
		l.rest, n = l.rest[k:], n+k
	}
	return n, nil
}

func (l *lines) refill() {
	if l.line == nil {
		l.line = make([]byte, 78)
	}
	_, _ = l.random.Read(l.line)
	for i, c := range l.line[:76] {
		l.line[i] = alphabet[c&63]
	}
	l.line[76], l.line[77] = '\r', '\n'
	l.rest = l.line
}

// Generated reads a message of exactly size bytes (not less than its header of about 170), the same for the same size:
// printable lines of 78 bytes, the last one ended early with CRLF.
func Generated(size int64) io.Reader {
	head := fmt.Sprintf(generatedHead, size, size)
	body := max(size-int64(len(head))-2, 0)
	return io.MultiReader(strings.NewReader(head), io.LimitReader(&lines{random: Pattern(uint64(size))}, body),
		strings.NewReader("\r\n"))
}

// generatedSize is the size that Generated(size) really has.
func generatedSize(size int64) int64 {
	head := int64(len(fmt.Sprintf(generatedHead, size, size)))
	return max(size, head+2)
}
