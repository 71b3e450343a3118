// Package imap speaks both sides of an IMAP dialogue up to the login: RFC 9051 and RFC 3501, with RFC 2971 (ID),
// RFC 4959 (SASL-IR), RFC 5530 (response codes), RFC 7888 (LITERAL+) and RFC 7628 (OAUTHBEARER).
//
// The client side plays the server towards a mail program until it has a complete login. The backend side plays the
// client towards a server and replays that login. Both are a dialog.Machine: they see bytes and hand out bytes.
//
//	client                  client side          backend side            backend
//	                        * OK [CAPABILITY …] ready
//	a ID ("name" "phone")
//	                        * ID NIL
//	                        a OK ID completed.
//	b LOGIN alice {6+}
//	sesame
//	                        ── Login ──────────▶                        * OK [CAPABILITY …] Dovecot ready.
//	                                            1 ID ("x-originating-ip" …
//	                                                                    1 OK ID completed.
//	                                            2 AUTHENTICATE PLAIN …
//	                                                                    2 OK [CAPABILITY …] Logged in
//	                        ◀────────── Verdict ─
//	                        b OK [CAPABILITY …] Logged in
//	c SELECT INBOX          ══ bridge ════════════════════════════════▶
//
// What the client sent behind its login command is never read here: it is the tail that the backend gets first.
package imap
