package health

import (
	"net/netip"
	"testing"
	"time"
)

var sink bool

// BenchmarkHealthy is what a login costs at a destination that is well.
func BenchmarkHealthy(b *testing.B) {
	x := New(Options{Limits: Limits{5, 2, time.Second}})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			p, _ := x.Allow()
			p.Succeeded()
			p.Abandon()
		}
	})
}

// BenchmarkDown is what a login costs that is turned away.
func BenchmarkDown(b *testing.B) {
	x := New(Options{Limits: Limits{1, 0, time.Hour}})
	p, _ := x.Allow()
	p.Failed(netip.IPv4Unspecified(), HostLevel)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		ok := false
		for pb.Next() {
			_, ok = x.Allow()
		}
		if ok {
			b.Error("let through")
		}
	})
}

// BenchmarkFailed is a failure of a streak that goes on, from an address that is known already.
func BenchmarkFailed(b *testing.B) {
	x := New(Options{})
	p, _ := x.Allow()
	a := netip.MustParseAddr("2001:db8::1")
	b.ReportAllocs()
	for b.Loop() {
		p.Failed(a, ClientLevel)
	}
	sink = x.Down()
}
