package limits

import (
	"net/netip"
	"runtime"
	"sync/atomic"
	"testing"
)

// BenchmarkAcquire is one connection's coming and going while addresses hold one each.
func BenchmarkAcquire(b *testing.B) {
	for _, bb := range []struct {
		name      string
		addresses int
		at        func(int) netip.Addr
	}{{"v4/addresses=1k", 1 << 10, v4}, {"v6/addresses=1k", 1 << 10, v6}, {"v4/addresses=900k", 900_000, v4}} {
		b.Run(bb.name, func(b *testing.B) {
			c := NewConnections(1000)
			list := make([]netip.Addr, bb.addresses)
			for i := range list {
				list[i] = bb.at(i)
				c.Acquire(list[i])
			}
			var workers atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			b.RunParallel(func(pb *testing.PB) {
				for i := int(workers.Add(1)) * 7919; pb.Next(); i += 7919 {
					x, _ := c.Acquire(list[i%len(list)])
					c.Release(x)
				}
			})
		})
	}
}

// BenchmarkNoLimit is the default configuration.
func BenchmarkNoLimit(b *testing.B) {
	c, a := NewConnections(0), v4(1)
	b.ReportAllocs()
	for b.Loop() {
		x, _ := c.Acquire(a)
		c.Release(x)
	}
}

// BenchmarkNewcomer is a connection from an address that had none: an entry made and removed.
func BenchmarkNewcomer(b *testing.B) {
	c := NewConnections(1)
	for n := range 100_000 {
		c.Acquire(v4(n))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		x, _ := c.Acquire(v6(i))
		c.Release(x)
	}
}

// BenchmarkLogin is what a login reports: a failure, then a success.
func BenchmarkLogin(b *testing.B) {
	d, a := NewDelays(nil), v6(1)
	d.Failed(a)
	b.ReportAllocs()
	for b.Loop() {
		d.Failed(a)
		d.Succeeded(a)
	}
}

// BenchmarkSuccess is a login from an address without failures, as nearly all are.
func BenchmarkSuccess(b *testing.B) {
	d, a := NewDelays(nil), v6(1)
	b.ReportAllocs()
	for b.Loop() {
		d.Succeeded(a)
	}
}

// BenchmarkGuessing is a table kept full by failures of ever new addresses: folding and eviction included.
func BenchmarkGuessing(b *testing.B) {
	d := NewDelays(newClock().now)
	for n := range 1_100_000 {
		d.Failed(v4(n))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		d.Failed(v6(i << 16))
	}
}

// BenchmarkLongestPause is a full shard's last growth, for which its lock is held.
func BenchmarkLongestPause(b *testing.B) {
	t := small(maxEntries)
	s := &t.shards[0]
	for n := range maxEntries / shards {
		k := keyOf(v6(n))
		s.add(&t, k.hash(t.seed), k)
	}
	for b.Loop() {
		s.rebuild(&t, len(s.slots), nil)
	}
}

// BenchmarkMemory measures bytes per entry: by the table's own account and by the heap's.
func BenchmarkMemory(b *testing.B) {
	for _, entries := range []int{1_000, 100_000, 400_000, 980_000} {
		b.Run(byThousand(entries), func(b *testing.B) {
			for b.Loop() {
				before := heap()
				c := NewConnections(1)
				for n := range entries {
					c.Acquire(v4(n))
				}
				after, s := heap(), c.Stats()
				b.ReportMetric(float64(s.Bytes)/float64(s.Entries), "table-B/entry")
				b.ReportMetric(float64(after-before)/float64(s.Entries), "heap-B/entry")
				runtime.KeepAlive(c)
			}
		})
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func byThousand(n int) string {
	return map[int]string{1_000: "1k", 100_000: "100k", 400_000: "400k", 980_000: "980k"}[n]
}
