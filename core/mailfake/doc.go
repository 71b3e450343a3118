// Package mailfake is a scripted mail server and a scripted mail client for tests, benchmarks and the demo (SPEC 13).
//
// It shares no parser with packages under protocols, so that a mistake there cannot cancel out here. It is written for
// clearness, not for load: a goroutine per connection, package net, one mutex per backend.
//
// A Backend plays one mail server on a loopback address:
//
//	b, err := mailfake.New(mailfake.Options{Protocol: mailfake.IMAP, Name: "legacy", Accounts: map[string]string{"alice": "secret"}})
//	defer b.Close()
//	... point a proxy at b.Addr() ...
//	b.Sessions() // who came, how, and from where
//
// Its name shows in the greeting, in the subject of the one message that every mailbox begins with ("on legacy"), and,
// with ManageSieve, Submission, SMTP and LMTP, in the answer to NOOP. Hostile behaviour is composed from hooks:
//
//	Hooks: mailfake.Hooks{
//		mailfake.OnGreeting:    mailfake.WaitFor(release),
//		mailfake.OnCommand:     mailfake.ForVerb("STARTTLS", mailfake.Say("{tag} NO not today\r\n")),
//		mailfake.OnStartTLS:    mailfake.Inject("* OK injected\r\n"),
//		mailfake.OnCredentials: mailfake.Reset(),
//	}
//
// What a protocol says by itself needs no hook: Check gives verdicts, of which Unavailable is the temporary refusal
// (UNAVAILABLE, SYS/TEMP, TRYLATER, 454); Capabilities, CapabilitiesTLS and Greeting say what is offered.
//
// A client plays the other peer, line by line, with a deadline on everything. There is Client for IMAP, POP3Client,
// SieveClient, and SMTPClient for Submission, SMTP and LMTP:
//
//	c, err := mailfake.Dial(addr) // DialPOP3, DialSieve, DialSMTP, DialLMTP
//	err = c.Login("alice", "secret")
//	name, err := c.Landed() // "legacy"
//	end, err := c.WaitEnd() // was it a FIN or a RST, and what was said before
//
// Beside IMAP4rev1 (RFC 3501) as far as tests, curl, mbsync and imaplib use it, the backend knows three commands of its
// own for moving bytes in bulk; N and SEED are decimal:
//
//	C: a XSOURCE N SEED    S: * SOURCE N, then N bytes of Pattern(SEED), then a OK sha256=HEX
//	C: a XSINK N           C: N bytes     S: a OK sha256=HEX
//	C: a XECHO N           C: N bytes     S: the same N bytes as they come, then a OK sha256=HEX
//
// The other protocols are POP3 (RFC 1939, 2449, 2595, 5034) with a mailbox, ManageSieve (RFC 5804) with scripts, and
// Submission, SMTP and LMTP (RFC 5321, 4954, 2033), which remember every message byte for byte. Their backends end a
// session at a bare CR, a bare LF or a NUL in a command, which a proxy must not send, and their clients take nothing for
// an answer that is none. XCLIENT is read as strictly as Dovecot and Postfix do.
//
// Everything protocol-specific of a backend is behind a serve function (imap.go, pop3.go, sieve.go, smtp.go).
package mailfake
