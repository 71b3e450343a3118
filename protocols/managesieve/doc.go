// Package managesieve speaks both sides of a ManageSieve dialogue up to the login: RFC 5804, with RFC 4422 and RFC 7628
// (OAUTHBEARER) in it, and Dovecot's XCLIENT.
//
// The client side plays the server towards a script editor until it has a complete login. The backend side plays the
// client towards a server and replays that login. Both are a dialog.Machine: they see bytes and hand out bytes.
//
//	client                  client side          backend side            backend
//	                        "IMPLEMENTATION" "mailsplice"
//	                        "SASL" "PLAIN LOGIN"
//	                        …
//	                        OK "ready"
//	AUTHENTICATE "PLAIN" {28+}
//	AGFsaWNlQGV4YW1wbGUub3JnAHg=
//	                        ── Login ──────────▶                        "SASL" "PLAIN"
//	                                                                    "STARTTLS"
//	                                                                    OK "Dovecot ready."
//	                                            STARTTLS
//	                                                                    OK "Begin TLS"
//	                                            ══ TLS ═══════════════════════════════
//	                                            NOOP "starttls"
//	                                                                    "SASL" "PLAIN"
//	                                                                    "XCLIENT"
//	                                                                    OK "TLS is up"
//	                                                                    OK (TAG "starttls") "Done"
//	                                            XCLIENT ADDR=…
//	                                                                    OK "Updated"
//	                                            AUTHENTICATE "PLAIN" "AGFs…"
//	                                                                    OK "Logged in."
//	                        ◀────────── Verdict ─
//	                        OK "Logged in."
//	LISTSCRIPTS             ══ bridge ════════════════════════════════▶
//
// Commands have no tags: answers come in order, and one that does not end is as bad as one too many. So a literal that
// waits for a go-ahead, which this protocol does not have, ends the connection: nobody can say where the next command
// begins.
//
// What the client sent behind its login is never read here: it is the tail that the backend gets first. The protocol has
// no way to tell a client that the capabilities after the login are others; one that wants to know asks (RFC 5804 2.4).
//
// # Capabilities behind STARTTLS
//
// A server lists its capabilities by itself once TLS is up (RFC 5804 2.2), which the servers of old drafts do not. To
// wait for a list that may never come would cost a timeout, to ask for one would leave a second list in front of the
// verdict. So the backend side sends NOOP, for resynchronisation as in RFC 5804 2.13, at no cost of a round trip: what
// answers before it is the list, and when nothing has, it asks by CAPABILITY. A refusal of NOOP does as well.
package managesieve
