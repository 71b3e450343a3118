package engine

import (
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What has happened to one Park does not reach the next that waits at its spot.
func TestSpotForgets(t *testing.T) {
	r := startRig(t, 1)
	l := r.Loops()[0]
	var first *spot
	for _, c := range []struct {
		name string
		end  func(p *Park, peer int)
	}{
		{"interrupted", func(p *Park, _ int) { p.Interrupt() }},
		{"late", func(p *Park, _ int) {
			p.SetDeadline(time.Now().Add(-time.Second))
			if _, err := p.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a late read ended with %v, want %v", err, os.ErrDeadlineExceeded)
			}
		}},
		{"soon late", func(p *Park, _ int) {
			p.SetDeadline(time.Now().Add(5 * time.Millisecond))
			if _, err := p.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("a late read ended with %v, want %v", err, os.ErrDeadlineExceeded)
			}
		}},
		{"with input", func(_ *Park, peer int) { check(t, writeAll(peer, []byte("stale"))) }},
		{"kept", func(p *Park, _ int) { check(t, p.Keep()) }},
		{"ended", func(_ *Park, peer int) { unix.Shutdown(peer, unix.SHUT_RDWR) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			ours, peer := streamPair(t)
			p := adopt(t, l, ours)
			if first == nil {
				first = p.spot
			}
			if p.spot != first {
				t.Fatal("a spot that is free is not used again")
			}
			c.end(p, peer)
			p.Close()
			unix.Close(peer)
			ours, peer = streamPair(t)
			defer unix.Close(peer)
			next := adopt(t, l, ours)
			defer next.Close()
			got := make(chan error, 1)
			buf := make([]byte, 8)
			go func() { // ends with the byte
				n, err := next.Read(buf)
				if err == nil && (n != 1 || buf[0] != 'x') {
					err = errors.New("read something else")
				}
				got <- err
			}()
			eventually(t, "the next one waits", func() bool { return waitsIn("(*Park).Read(") })
			check(t, writeAll(peer, []byte("x")))
			check(t, receive(t, "the next one's byte", got))
		})
	}
}

// Beyond the bound the loop watches. Idle spots are few, and gone after Stop, as are those that come back later.
func TestSpotsAreBounded(t *testing.T) {
	before := openFiles(t)
	r := startRig(t, 1)
	base := openFiles(t)
	var parks []*Park
	var peers []int
	for i := range maxSpots + 2 {
		ours, peer := streamPair(t)
		p := must(r.Loops()[0].Adopt(ours))
		if got, want := p.spot != nil, i < maxSpots; got != want {
			t.Fatalf("number %d has a spot: %v, want %v", i, got, want)
		}
		parks, peers = append(parks, p), append(peers, peer)
	}
	for i, p := range parks { // both kinds still work
		check(t, writeAll(peers[i], []byte("x")))
		p.SetDeadline(time.Now().Add(patience))
		if n, err := p.Read(make([]byte, 2)); n != 1 || err != nil {
			t.Fatalf("number %d: read %d bytes, %v", i, n, err)
		}
	}
	for _, p := range parks[1:] {
		p.Close()
	}
	closeAll(peers...)
	if got, want := openFiles(t)-base, maxIdleSpots+2; got != want { // the first Park's socket and spot
		t.Errorf("%d descriptors are left, want %d", got, want)
	}
	r.Stop()
	parks[0].Close()
	eventually(t, "all descriptors are given back", func() bool { return openFiles(t) <= before })
	if s := r.spots.take(); s != nil {
		t.Error("there are spots after Stop")
	}
}

// Sessions come before spots.
func TestNoSpotWhenDescriptorsAreScarce(t *testing.T) {
	r := newRig(t, Options{Loops: 1, MaxFDs: reserveFDs + 3})
	r.Start()
	var parks []*Park
	for _, want := range []bool{true, false} { // room for three; then for one
		ours, peer := streamPair(t)
		defer unix.Close(peer)
		p := must(r.Loops()[0].Adopt(ours))
		defer p.Close()
		if got := p.spot != nil; got != want {
			t.Errorf("with %d Parks there is a spot: %v, want %v", len(parks), got, want)
		}
		parks = append(parks, p)
	}
}

// After Keep the loop tells two goroutines, and the spot is free.
func TestKeepGivesTheSpotBack(t *testing.T) {
	r := startRig(t, 1)
	ours, peer := streamPair(t)
	defer unix.Close(peer)
	p := adopt(t, r.Loops()[0], ours)
	defer p.Close()
	s := p.spot
	check(t, p.Keep())
	if p.spot != nil || len(r.spots.idle) != 1 || r.spots.idle[0] != s {
		t.Error("the spot was not given back")
	}
}
