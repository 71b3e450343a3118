// Package xclient reads and words XCLIENT, by which one mail server tells the next who the client is (SPEC 3, 5.2).
//
// There are two dialects. In SMTP and LMTP (Postfix's XCLIENT_README, Dovecot) the server lists the attributes that it
// takes, values are xtext (RFC 3461 4) and an IPv6 address has a prefix:
//
//	S: 250-XCLIENT NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT
//	C: XCLIENT PORT=4567 DESTPORT=587 HELO=a+2Bb.example PROTO=ESMTP NAME=[UNAVAILABLE] DESTADDR=198.51.100.1 ADDR=IPV6:2001:db8::7
//	S: 220 mx.example.org ESMTP Postfix
//
// In POP3 and ManageSieve (Dovecot) there is no list, no encoding and no prefix:
//
//	S: +OK [XCLIENT] Dovecot ready.
//	C: XCLIENT ADDR=2001:db8::7 PORT=4567 DESTADDR=198.51.100.1 DESTPORT=110 SESSION=ab-1 TTL=6 CLIENT-TRANSPORT=TLS
//	S: +OK Updated
//
// Whom to believe is the caller's business (SECURITY 11): Parse is for a peer in proxy_trusted, and no other. Here is
// seen to that no value adds an attribute or a command (SECURITY 8, 9). LOGIN is never worded: a login is replayed.
package xclient
