// Package scenario holds what is measured: each scenario sets a stage up, makes the clients do something, and reads what
// that cost the proxy.
//
//	idle     memory, kernel memory, goroutines and CPU of sessions that say nothing
//	ping     NOOP round trips: how many, how long, at what cost
//	login    handshake and login: full and resumed, ECDSA and RSA
//	bulk     many bytes through few sessions, down and up
//	flood    NOOP round trips of joined sessions while somebody floods the proxy with handshakes
//	preauth  connections that have not logged in: silent, or greeted after TLS
//	wave     a line to all idle sessions at once
//	churn    logins that come and go: what stays behind
//	cutover  accounts that are moved to another backend while they are connected
//
// A failure of a single login or round trip fails the run: figures of a proxy that drops work cannot be compared. Every
// load is bounded by count or time.
package scenario
