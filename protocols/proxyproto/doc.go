// Package proxyproto words and reads the PROXY protocol header, by which a proxy tells who the client is before the
// connection's own first byte (SPEC 2.3, 5.1; HAProxy's proxy-protocol.txt, versions 1 and 2).
//
//	v1   PROXY TCP4 203.0.113.7 198.51.100.1 4567 993\r\n
//	v2   signature 12 | 2, command 1 | family, transport 1 | length 2 | addresses | TLVs: type 1, length 2, value …
//
// Header words version 2 for a backend. Its wire format is github.com/pires/go-proxyproto's. That library speaks in
// net.Addr, which is why this package alone under protocols imports net: for its address types, never for a connection.
//
// Parse reads both versions from a peer in proxy_trusted, and no other (SECURITY 11, 12). It is code of our own: the
// library reads from a bufio.Reader of 4 KiB and cannot tell a header that is not whole from a broken one, which an event
// loop needs to know; it refuses UNSPEC, leaves the checksum unverified, and has its bound in a global variable. The
// library is what the tests and the fuzzer compare it with.
package proxyproto
