// Package interop runs mailsplice between real mail servers and real mail clients.
//
// Two private Dovecots, legacy and new, live on loopback addresses under a temporary directory and are owned by the
// test: nothing in /etc is read or changed, no service manager is involved, and they end with the test. legacy trusts
// addresses announced by IMAP ID (SPEC 5.3), new wants a PROXY header on every connection (SPEC 5.1). curl, mbsync,
// Python's imaplib and a raw scripted client then log in, through the real binary, in every way that SPEC 3.1 knows.
//
//	curl, mbsync, imaplib, raw        mailsplice                 Dovecot
//	127.0.0.1, 127.0.10N.x     ────▶  127.0.N.50  127.0.N.9 ────▶  127.0.N.10 legacy
//	                                                        ────▶  127.0.N.20 new
//
// Every case is run three times, N by N and side by side: straight at the Dovecots, which shows that the case itself is
// right, through the proxy in the clear, and through the proxy with TLS on every leg, as in the reference migration (SPEC 1):
// clients by implicit TLS and STARTTLS in turn, legacy by STARTTLS with its certificate pinned, new by implicit TLS behind
// the PROXY header. In the last, s_client, gnutls-cli and curl go through the suites besides, and s_server stands behind the
// proxy. Each login has an account of its own, so that its line in a server's log can be told from every other, and after
// each case the proxy's log must say on which lane it ran (DESIGN 3.11).
//
// A second suite is for whole mail hosts, a Dovecot and a Postfix each, and all protocols: legacy trusts what the proxy
// announces by ID and XCLIENT, stalwart wants PROXY headers (SPEC 5). swaks, msmtp, fetchmail, sieve-connect, curl, poplib,
// smtplib and scripted clients come from IPv4 and IPv6 addresses, and every login is looked up in the backend's log by the
// client's own address. The proxy has the configuration of the reference scenario, TLS on every leg, and every session must
// be on lane record (DESIGN 3.11). TestMigration plays that scenario from end to end; TestPassThrough hands SMTP and LMTP
// through (SPEC 3.5).
//
//	127.1.N.x, ::1                       mailsplice                     Dovecot, Postfix
//	curl, swaks, sieve-connect ... ────▶  127.0.N.50, ::1  127.0.0.1 ────▶  127.0.N.10 legacy
//	                                                                 ────▶  127.0.N.20 stalwart
//
// The tests run with MAILSPLICE_INTEROP=1, as root on Debian, after install.sh; then a missing program is a failure.
// Without it they are skipped, and say so. MAILSPLICE_BIN names a binary to test in place of one built on the spot.
package interop
