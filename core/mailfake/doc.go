// Package mailfake is a scripted mail server and a scripted mail client for tests, benchmarks and the demo (SPEC 13).
//
// It shares no parser with packages under protocols, so that a mistake there cannot cancel out here. It is written for
// clearness, not for load: a goroutine per connection, package net, one mutex per backend.
//
// A Backend plays one mail server on a loopback address:
//
//	b, err := mailfake.NewIMAP(mailfake.Options{Name: "legacy", Accounts: map[string]string{"alice": "secret"}})
//	defer b.Close()
//	... point a proxy at b.Addr() ...
//	b.Sessions() // who came, how, and from where
//
// Its name shows in the greeting and in the subject of the one message that every mailbox begins with ("on legacy").
// Hostile behaviour is composed from hooks:
//
//	Hooks: mailfake.Hooks{
//		mailfake.OnGreeting:    mailfake.WaitFor(release),
//		mailfake.OnCommand:     mailfake.ForVerb("STARTTLS", mailfake.Say("{tag} NO not today\r\n")),
//		mailfake.OnCredentials: mailfake.Reset(),
//	}
//
// A Client plays the other peer, line by line, with a deadline on everything:
//
//	c, err := mailfake.Dial(addr)
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
// Everything protocol-specific of the backend is in a serve function (imap.go); other protocols are added beside it.
package mailfake
