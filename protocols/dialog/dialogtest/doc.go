// Package dialogtest replays written dialogues on a dialog.Machine and checks that the machine keeps the contract of
// package dialog. It is for tests only.
//
// # Transcripts
//
// A transcript is a text file. Blank lines and lines that begin with # are comments; the first ones cite the rule that
// is tested. Lines "option KEY VALUE" come next and are handed to the constructor that the test supplies. The dialogue
// follows:
//
//	C: text      the peer in the client's role says text and CRLF; no escapes, so quoted strings read as they are
//	S: text      the same for the server's role
//	C~ text      raw bytes without CRLF; escapes \r \n \t \0 \\ \xNN
//	C~ repeat N text   text N times
//	C*: text     as C: and C~, said by the machine in an action with Secret set (also S*: S*~)
//	C*~ text
//	! event      something that is told to the machine
//	! want act   something other than a Write that the machine asks for
//
// Which letter is the machine's follows from the Suite's Role; the other letter is its input. Adjacent input lines are
// one chunk of input, and what the machine does in answer must stand right below it. Events:
//
//	! begin                    told by itself first, unless the dialogue opens with an event
//	! tlsup  ! expire  ! drain  ! busy  ! kicked
//	! relayed TEXT
//	! accepted VERDICT         likewise refused, unavailable
//
// and expectations:
//
//	! want starttls
//	! want login method=password identifier=alice authcid=alice authzid=… password=… frame=… hello=… utf8=true
//	             id.NAME=VALUE id.NAME announced.client=ADDR:PORT announced.local=… announced.session=… announced.ttl=7 announced.tls=true
//	! want relay TEXT
//	! want done accepted VERDICT
//	! want close REASON        a dialog.Reason by its name
//	! want unconsumed TEXT     what lies unconsumed at this moment
//
// A VERDICT is any of before="…" capabilities="…" forwarding=ignored login=notoffered, then the answer as it is. TEXT is
// taken as it is, or quoted as in Go. In a login a field that is not named is empty, values are quoted as in Go when
// they hold a blank or a quote, and id.NAME without a value is NIL. Input that is still unconsumed at the end, without
// a Close, must have been expected by want unconsumed.
//
// # Replaying
//
// Each transcript is replayed chunk by chunk, bytewise, with every chunk cut in two at every position (at most 512
// positions of a long one, fewer beyond 8 KiB: those around line ends and an even sample), and in the server's role also with the chunks
// glued together as far as no event stands between them; the line "stepwise" among the options turns the last off for
// a peer that may not pipeline. Input, action bytes and event bytes are overwritten as soon as their time is over, so
// that a machine which keeps one of them shows it: neither may it hand out bytes that it needs again. The -update flag
// rewrites the machine's own lines and the wants.
//
// # Fuzzing
//
// Seeds turns transcripts into byte programs and Fuzz runs such a program, holding the machine to the same contract:
// output independent of how input is cut, whole CRLF lines only, no action after the end, bounded output.
package dialogtest
