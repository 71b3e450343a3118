package session

import (
	"context"
	"crypto/tls"
	"net/netip"
	"slices"
	"strings"
	"time"

	"mailsplice/core/engine"
	"mailsplice/core/health"
)

// Filter chooses sessions for List.
type Filter struct {
	// Account, as the registry files it; empty: any.
	Account string
	// Destination; empty: any.
	Destination string
	// Limit bounds the list.
	Limit int
}

// View is one joined session as GET /connections shows it.
type View struct {
	ID, Account, Protocol, Listener, Destination string
	Client                                       netip.AddrPort
	Since                                        time.Time
	BytesIn, BytesOut                            uint64 // from and to the client
	ClientTLS, BackendTLS                        string // version and suite; empty: in the clear
	Lane                                         string
	Master                                       bool
}

// List shows joined sessions, Filter.Limit at most, and how many there are in all. Sessions that end meanwhile are left
// out. ctx bounds the wait for the loops.
func (s *Sessions) List(ctx context.Context, f Filter) (list []View, total int) {
	dest := -1
	if f.Destination != "" {
		h := s.homeOf(f.Destination)
		if h == nil {
			return nil, 0
		}
		dest = int(h.index)
	}
	keep := func(p place) bool {
		if !p.joined || dest >= 0 && int(p.dest) != dest {
			return false
		}
		total++
		return total <= f.Limit
	}
	var places []place
	if f.Account == "" {
		places = s.registry.each(keep)
	} else {
		places = slices.DeleteFunc(s.registry.sessionsOf(f.Account, nil), func(p place) bool { return !keep(p) })
	}
	return s.view(ctx, places), total
}

// view asks each loop for its sessions among places.
func (s *Sessions) view(ctx context.Context, places []place) (list []View) {
	answers := make(chan []View, len(s.lobbies))
	asked := 0
	for i, b := range s.lobbies {
		var toks []engine.Token
		for _, p := range places {
			if p.loop == i {
				toks = append(toks, p.tok)
			}
		}
		if len(toks) > 0 {
			asked++
			b.loop.Do(func() { answers <- b.views(toks) })
		}
	}
	for range asked {
		select {
		case part := <-answers:
			list = append(list, part...)
		case <-ctx.Done():
			return list
		}
	}
	slices.SortFunc(list, func(a, b View) int { return a.Since.Compare(b.Since) })
	return list
}

// views describes the sessions that are still there.
func (b *lobby) views(toks []engine.Token) (list []View) {
	for _, t := range toks {
		rec := b.slab.Of(t)
		if rec == nil || rec.phase != joined {
			continue
		}
		n, _ := b.bridge.Count(rec.bridge)
		list = append(list, View{
			ID: b.s.id(rec.number), Account: b.s.registry.name(rec.ticket), Protocol: rec.protocol.String(),
			Listener: b.s.listener(rec.listener).Name, Destination: b.s.home(rec.dest).name, Client: rec.client.addrPort(),
			Since: time.Unix(0, rec.since), BytesIn: n.ToBackend, BytesOut: n.ToClient,
			ClientTLS: suiteText(rec.suites[0]), BackendTLS: suiteText(rec.suites[1]), Lane: rec.lane.String(), Master: rec.master == 1,
		})
	}
	return list
}

// suiteText is version and suite; suites of TLS 1.3 are numbered 0x13xx (RFC 8446 B.4).
func suiteText(suite uint16) string {
	switch {
	case suite == 0:
		return ""
	case suite>>8 == 0x13:
		return "TLS 1.3 " + tls.CipherSuiteName(suite)
	}
	return "TLS 1.2 " + tls.CipherSuiteName(suite)
}

// DestinationView is one destination as GET /destinations shows it.
type DestinationView struct {
	Name     string
	Health   health.Snapshot
	Sessions int // joined
}

// Destinations shows the declared destinations, by name.
func (s *Sessions) Destinations() (list []DestinationView) {
	for _, h := range s.policy.Load().byName {
		v := DestinationView{Name: h.name, Health: h.breaker.Snapshot()}
		for p := range h.joined {
			for lane := range h.joined[p] {
				v.Sessions += int(h.joined[p][lane].Load())
			}
		}
		list = append(list, v)
	}
	slices.SortFunc(list, func(a, b DestinationView) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// ResetHealth clears a destination's health state (POST /destinations/reset); false: it is not declared.
func (s *Sessions) ResetHealth(destination string) bool {
	h := s.policy.Load().byName[destination]
	if h == nil {
		return false
	}
	h.breaker.Reset()
	return true
}
