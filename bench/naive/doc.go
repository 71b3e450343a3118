// Package naive is the proxy that one would write first, to compare with: for every session two goroutines, a tls.Conn on
// each leg, and two pooled buffers of 32 KiB that io.CopyBuffer holds for as long as the session lives (DESIGN 6).
//
// It answers the dialogue before login itself, dials the backend, replays LOGIN there and copies. What would make it a
// mail proxy to use is left out on purpose, since it must not cost anything here: no limits, no deadlines, no look-up (the
// backend follows from the account's number), no log. Its TLS is as good as it can be: sessions are resumed on both legs,
// the backend's certificate is pinned.
//
// Plain legs are copied through the same buffers: io.Copy between two TCP connections would otherwise use splice(2), and
// the proxy would be another one than with TLS.
package naive
