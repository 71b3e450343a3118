package tlsx

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// diary is a log that tests read, from any goroutine.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) count(what string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return strings.Count(d.text.String(), what)
}

// onDisk is a pair in files of dir.
type onDisk struct {
	t         *testing.T
	cert, key string
}

func newOnDisk(t *testing.T) *onDisk {
	dir := t.TempDir()
	return &onDisk{t, filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
}

// put replaces one file as a careful program does.
func (d *onDisk) put(file string, contents []byte) {
	d.t.Helper()
	if err := os.WriteFile(file+".new", contents, 0o600); err != nil {
		d.t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		d.t.Fatal(err)
	}
}

func (d *onDisk) save(p Pair) { d.put(d.cert, p.CertPEM); d.put(d.key, p.KeyPEM) }

func (d *onDisk) pair(name string) Pair {
	return Pair{Name: name, CertFile: d.cert, KeyFile: d.key, Subjects: []string{name + ".example.com"}}
}

func TestChangedFilesAreServed(t *testing.T) {
	a, b := newOnDisk(t), newOnDisk(t)
	a.save(pair(t, "a1", "ecdsa"))
	b.save(pair(t, "b1", "ecdsa"))
	c, err := NewCertificates("", []Pair{a.pair("a"), b.pair("b")})
	if err != nil {
		t.Fatal(err)
	}
	d := &diary{}
	log := slog.New(slog.NewTextHandler(d, nil))
	rsa := pair(t, "a3", "rsa")
	steps := []struct {
		name              string
		change            func()
		a                 string // served afterwards
		loaded, complains int    // so far, once two looks have passed
	}{
		{"nothing", func() {}, "a1", 0, 0},
		{"both files", func() { a.save(pair(t, "a2", "ecdsa")) }, "a2", 1, 0},
		{"another key type, certificate first", func() { a.put(a.cert, rsa.CertPEM) }, "a2", 1, 1},
		{"still broken", func() {}, "a2", 1, 1},
		{"now its key", func() { a.put(a.key, rsa.KeyPEM) }, "a3", 2, 1},
		{"garbage", func() { a.put(a.cert, []byte("nothing")) }, "a3", 2, 2},
		{"gone", func() { os.Remove(a.cert) }, "a3", 2, 3},
		{"back", func() { a.put(a.cert, rsa.CertPEM) }, "a3", 3, 3},
	}
	for _, s := range steps {
		s.change()
		before := choose(t, c, "a.example.com", anything)
		c.look(log)
		if got := choose(t, c, "a.example.com", anything); got != before {
			t.Errorf("%s: got %q at the first look, want it to wait for a quiet one", s.name, got)
		}
		c.look(log)
		c.look(log)
		if got := choose(t, c, "a.example.com", anything); got != s.a {
			t.Errorf("%s: got %q, want %q", s.name, got, s.a)
		}
		if got := choose(t, c, "b.example.com", anything); got != "b1" {
			t.Errorf("%s: the other pair: got %q, want b1", s.name, got)
		}
		if loaded, complains := d.count("changed certificate loaded"), d.count("old one stays"); loaded != s.loaded || complains != s.complains {
			t.Errorf("%s: got %d loaded and %d complaints, want %d and %d\n%s", s.name, loaded, complains, s.loaded, s.complains, d.text.String())
		}
	}
}

// A change that would make two pairs claim one name is refused like a broken one.
func TestChangedFilesMustNotCollide(t *testing.T) {
	a, b := newOnDisk(t), newOnDisk(t)
	a.save(pair(t, "a1", "ecdsa"))
	b.save(pair(t, "b1", "rsa"))
	second := b.pair("b")
	second.Subjects = []string{"a.example.com"} // beside an ECDSA one
	c, err := NewCertificates("", []Pair{a.pair("a"), second})
	if err != nil {
		t.Fatal(err)
	}
	b.save(pair(t, "b2", "ecdsa"))
	d := &diary{}
	log := slog.New(slog.NewTextHandler(d, nil))
	for range 4 {
		c.look(log)
	}
	if got := choose(t, c, "a.example.com", rsaOnly); got != "b1" || d.count("old one stays") != 1 {
		t.Errorf("got %q and %d complaints, want b1 and 1", got, d.count("old one stays"))
	}
}

func TestWatch(t *testing.T) {
	a := newOnDisk(t)
	a.save(pair(t, "a1", "ecdsa"))
	c, err := NewCertificates("", []Pair{a.pair("a")})
	if err != nil {
		t.Fatal(err)
	}
	d := &diary{}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { c.Watch(ctx, slog.New(slog.NewTextHandler(d, nil))) })
	a.save(pair(t, "a2", "ecdsa"))
	eventually(t, "the changed pair is served", func() bool { return choose(t, c, "a.example.com", anything) == "a2" })
	stop()
	wg.Wait()
}
