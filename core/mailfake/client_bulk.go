package mailfake

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
)

// Source asks the backend for n bytes of Pattern(seed) and wants the checksums of all three parties to agree.
func (c *Client) Source(n int64, seed uint64, p Pace) error {
	tag := c.tag()
	if err := c.Send(fmt.Sprintf("%s XSOURCE %d %d", tag, n, seed)); err != nil {
		return err
	}
	if _, err := c.Expect("* SOURCE"); err != nil {
		return err
	}
	sum := sha256.New()
	if err := p.copy(sum, io.LimitReader(c, n), n); err != nil {
		return fmt.Errorf("reading XSOURCE: %w", err)
	}
	return c.checkSum(tag, sum, PatternSum(n, seed))
}

// Sink sends n bytes of Pattern(seed) and wants the backend to have got just those.
func (c *Client) Sink(n int64, seed uint64, p Pace) error {
	tag := c.tag()
	if err := c.Send(fmt.Sprintf("%s XSINK %d", tag, n)); err != nil {
		return err
	}
	sum := sha256.New()
	if err := p.copy(io.MultiWriter(c, sum), Pattern(seed), n); err != nil {
		return fmt.Errorf("writing XSINK: %w", err)
	}
	return c.checkSum(tag, sum, "")
}

// Echo sends n bytes of Pattern(seed) and reads them back at the same time, each way at its own pace.
func (c *Client) Echo(n int64, seed uint64, out, in Pace) error {
	tag := c.tag()
	if err := c.Send(fmt.Sprintf("%s XECHO %d", tag, n)); err != nil {
		return err
	}
	sent := make(chan error, 1)
	go c.pump(n, seed, out, sent) // ends when n bytes are written or a write fails, at the latest by its deadline
	sum := sha256.New()
	err := in.copy(sum, io.LimitReader(c, n), n)
	if err != nil {
		c.Close() // ends the pump
	}
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	if err != nil {
		return fmt.Errorf("echoing: %w", err)
	}
	return c.checkSum(tag, sum, PatternSum(n, seed))
}

// pump writes n bytes of Pattern(seed).
func (c *Client) pump(n int64, seed uint64, p Pace, sent chan<- error) {
	sent <- p.copy(c, Pattern(seed), n)
}

// checkSum reads the tagged answer of a bulk command; the checksum in it, ours, and want (unless empty) must agree.
func (c *Client) checkSum(tag string, ours hash.Hash, want string) error {
	r, err := c.Answer(tag)
	if err != nil {
		return err
	}
	got := hex.EncodeToString(ours.Sum(nil))
	_, theirs, _ := strings.Cut(r.Text, "sha256=")
	if got != theirs || want != "" && got != want {
		return fmt.Errorf("checksums differ: here %s, backend %q, expected %q", got, theirs, want)
	}
	return nil
}

// Pace says how bulk bytes are moved. The zero value: as fast as they go, 32 KiB at a time.
type Pace struct {
	// Chunk gives the size of the next read or write; nil: 32 KiB.
	Chunk func() int
	// Before is called before each; it may wait.
	Before func()
}

// copy moves n bytes.
func (p Pace) copy(w io.Writer, r io.Reader, n int64) error {
	for n > 0 {
		if p.Before != nil {
			p.Before()
		}
		k := int64(32 << 10)
		if p.Chunk != nil {
			k = int64(max(p.Chunk(), 1))
		}
		moved, err := io.CopyN(w, r, min(k, n))
		if n -= moved; err != nil {
			return err
		}
	}
	return nil
}
