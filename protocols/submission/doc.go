// Package submission speaks both sides of a submission dialogue up to the login: RFC 5321 and RFC 6409, with RFC 4954
// (AUTH), RFC 3207 (STARTTLS), RFC 2034 (ENHANCEDSTATUSCODES) and the XCLIENT of Postfix and Dovecot (BACKENDS).
//
// The client side plays the server towards a mail program until it has a complete login. The backend side plays the
// client towards a server and replays that login. Both are a dialog.Machine: they see bytes and hand out bytes.
//
//	client                  client side          backend side            backend
//	                        220 mail.example.org ready
//	EHLO phone.example.org
//	                        250-mail.example.org
//	                        250-PIPELINING
//	                        250 AUTH PLAIN LOGIN
//	AUTH PLAIN AGFsaWN…
//	                        ── Login ──────────▶                        220 backend ESMTP
//	                                            EHLO phone.example.org
//	                                                                    250-backend
//	                                                                    250-XCLIENT ADDR PORT HELO
//	                                                                    250 AUTH PLAIN LOGIN
//	                                            XCLIENT … ADDR=192.0.2.7
//	                                                                    220 backend ESMTP
//	                                            EHLO phone.example.org
//	                                                                    250-backend
//	                                                                    250 AUTH PLAIN LOGIN
//	                                            AUTH PLAIN AGFsaWN…
//	                                                                    235 2.7.0 Authenticated
//	                        ◀────────── Verdict ─
//	                        235 2.7.0 Authenticated
//	MAIL FROM:<…>           ══ bridge ════════════════════════════════▶
//
// What the client sent behind its login command is never read here: it is the tail that the backend gets first. The
// backend has been greeted in the client's name by then, so that the client goes on as if it had said EHLO there.
package submission
