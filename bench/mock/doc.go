// Package mock is the mail server behind the proxies that are compared: an IMAP server that takes every login, and costs as
// little as possible, in a process of its own.
//
// It runs on netpoll: one goroutine only while a connection has something to say, none while it is silent. netpoll knows no
// TLS, so crypto/tls is driven over a netpoll connection (layer.go): during the handshake its reads block, afterwards a read
// that finds nothing is a temporary error, which crypto/tls hands through and survives, so that the goroutine can go home.
//
// A session, N decimal:
//
//	S: * OK [CAPABILITY IMAP4rev1 SASL-IR LITERAL+ ID IDLE AUTH=PLAIN] b0 ready
//	C: a LOGIN user000000001@mail.example.org secret          (or AUTHENTICATE PLAIN with an initial response)
//	S: a OK [CAPABILITY IMAP4rev1 LITERAL+ ID IDLE] b0
//	C: a NOOP                                S: a OK done
//	C: a IDLE                                S: + idling       (until DONE)
//	C: a XSOURCE N                           S: * SOURCE N, then N bytes, then a OK done
//	C: a XSINK N                             C: N bytes        S: a OK done
//	C: a LOGOUT                              S: * BYE, a OK done
//
// A line that ends with a literal's length is answered with "+", and the next one goes on with it; the length itself is not
// looked at, since no proxy under test has reason to send a line end inside a literal.
package mock
