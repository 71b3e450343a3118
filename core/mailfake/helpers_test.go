package mailfake

import (
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const wait = 10 * time.Second

func newBackend(t *testing.T, o Options) *Backend {
	t.Helper()
	b, err := NewIMAP(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func dial(t *testing.T, b *Backend) *Client { return dialWith(t, b, ClientOptions{}) }

func dialWith(t *testing.T, b *Backend, o ClientOptions) *Client {
	t.Helper()
	c, err := DialWith(b.Addr().String(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func await(t *testing.T, b *Backend, what string, cond func(Counts) bool) {
	t.Helper()
	if !b.Await(wait, cond) {
		t.Fatalf("never came true: %s; counts %+v", what, b.Counts())
	}
}

// checksum is a hash that prints as hexadecimal.
type checksum struct{ hash.Hash }

func newSum() checksum { return checksum{sha256.New()} }

func (c checksum) String() string { return hex.EncodeToString(c.Sum(nil)) }
