// Package pop3 speaks both sides of a POP3 dialogue up to the login: RFC 1939, with RFC 2449 (CAPA), RFC 2595 (STLS),
// RFC 3206 (SYS and AUTH response codes), RFC 5034 (AUTH), RFC 6856 (UTF8), RFC 7628 (OAUTHBEARER) and XCLIENT as
// Dovecot has it.
//
// The client side plays the server towards a mail program until it has a complete login. The backend side plays the
// client towards a server and replays that login. Both are a dialog.Machine: they see bytes and hand out bytes.
//
//	client                  client side          backend side            backend
//	                        +OK ready
//	CAPA
//	                        +OK Capability list follows.
//	                        TOP
//	                        …
//	                        .
//	USER alice
//	                        +OK Send the password.
//	PASS sesame
//	                        ── Login ──────────▶                        +OK [XCLIENT] Dovecot ready.
//	                                            CAPA
//	                                                                    +OK
//	                                                                    STLS
//	                                                                    .
//	                                            STLS
//	                                                                    +OK Begin TLS negotiation now.
//	                                            ═══════════════ TLS ═══════════════
//	                                            XCLIENT ADDR=192.0.2.7 PORT=40000 …
//	                                                                    +OK Updated
//	                                            CAPA
//	                                                                    +OK
//	                                                                    SASL PLAIN
//	                                                                    .
//	                                            AUTH PLAIN …
//	                                                                    +OK Logged in.
//	                        ◀────────── Verdict ─
//	                        +OK Logged in.
//	STAT                    ══ bridge ════════════════════════════════▶
//
// A POP3 answer is a line that begins with +OK or -ERR, and there is nothing else that a server may say unasked. So a
// farewell is one more -ERR before the end of the connection, and it answers the command in progress, too. Neither side
// has anything to say about capabilities after the login: a client asks CAPA again.
//
// What the client sent behind its login command is never read here: it is the tail that the backend gets first.
package pop3
