//go:build !race

package proxy

// skipped modes: none.
const skipped = 0
