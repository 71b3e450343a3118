//go:build race

package proxy

// skipped modes: under the race detector, which makes everything five times slower, plain legs are left to core/bridge and
// core/session; what TLS and lane conn add in goroutines is what races.
const skipped = 1
