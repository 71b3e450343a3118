// Package load is the clients' side of the benchmark: processes that hold many IMAP sessions and do with them what their
// parent says.
//
// A session that is silent is a connection and a small read buffer; no goroutine waits on it. Every loop here ends by
// itself, by count, by time, or because the other side has gone, and whatever is read or written has a deadline.
//
// Session number i logs in as Account(i) from SourceAddr(i), so that accounts and client addresses are all distinct.
package load
