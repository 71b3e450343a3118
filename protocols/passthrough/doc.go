// Package passthrough speaks the few words of an SMTP or LMTP session that is passed through (SPEC 3.5): RFC 5321, 2033
// and 3207, and XCLIENT as Postfix and Dovecot have it.
//
// Such a session has no dialogue with the client and no account. Where the backend's leg is plain or implicit TLS and the
// forwarding is proxy or none the legs join at once, and the backend greets the client. Else the proxy talks to the
// backend first:
//
//	client                  client side          backend side            backend
//	                        ── Login, empty ───▶                        220 mx.example.org ESMTP
//	EHLO relay.example                          EHLO proxy.example.org
//	                                                                    250-mx.example.org
//	                                                                    250 STARTTLS
//	                                            STARTTLS
//	                                                                    220 go ahead
//	                                            ═══ handshake ═══
//	                                            EHLO proxy.example.org
//	                                                                    250-mx.example.org
//	                                                                    250 XCLIENT NAME ADDR PORT
//	                                            XCLIENT PORT=… ADDR=…
//	                                                                    220 mx.example.org ESMTP
//	                        ◀────────── Verdict ─
//	                        220 mx.example.org ESMTP
//	EHLO relay.example      ══ bridge ════════════════════════════════▶
//
// # How a session drives the two
//
// Both are a dialog.Machine and are driven like those of any other protocol. The client side yields an empty Login at
// Begin and consumes nothing, ever: what the client sends meanwhile is the tail for the backend, to the byte (SECURITY
// 29). The session routes that Login to smtp_passthrough_destination without asking for an account, and keeps neither
// the pre-auth deadline nor the delay of failed logins for it: there is no login, and a Refused verdict is the backend's
// refusal to serve this client, as it would be without a proxy.
//
// The backend side may be made for every leg. Without StartTLS and Forward its verdict is there at Begin, accepted and
// without an answer, and the backend's own greeting goes through the bridge. What its verdicts mean:
//
//	Accepted                      join; Before and Answer are the greeting for the client
//	Accepted, ForwardingIgnored   the same, but the backend takes no IPv6 address and was told [UNAVAILABLE]: warn once
//	Refused                       told who the client is, the backend greeted with 554 or 521, which is for the client
//	Unavailable                   the backend has no time for this client (421, 4xx)
//	Unavailable, ForwardingIgnored  it does not offer or accept XCLIENT: nobody is let through, error in the log
//
// Anything else that goes wrong is a Close, as with a backend that breaks off. The client side answers what is not
// accepted in its own words, 421 4.3.2, or with the backend's greeting when that is a refusal, and closes.
//
// # The greeting
//
// After XCLIENT a server greets anew, and that is what the client gets. With STARTTLS alone there is no second greeting.
// The first was read in the clear and could be anybody's text (SECURITY 7), so that the client gets one of ours, with
// server.hostname. EHLO is not repeated after TLS then: the backend is as if freshly connected, and the next words it
// hears are the client's.
package passthrough
