package mailfake

// Protocol is what a backend speaks.
type Protocol uint8

// The protocols.
const (
	IMAP        Protocol = iota // IMAP4rev1, RFC 3501
	POP3                        // RFC 1939, 2449, 2595, 5034
	ManageSieve                 // RFC 5804
	Submission                  // RFC 6409: no MAIL without a login
	SMTP                        // RFC 5321
	LMTP                        // RFC 2033
)

var protocolNames = [...]string{IMAP: "imap", POP3: "pop3", ManageSieve: "managesieve", Submission: "submission",
	SMTP: "smtp", LMTP: "lmtp"}

// String is the protocol's name as a configuration spells it (SPEC 2.3).
func (p Protocol) String() string {
	if int(p) >= len(protocolNames) {
		return "unknown"
	}
	return protocolNames[p]
}

// speech is what differs in what all protocols have. "{name}" in a text is the backend's name, "{tag}" the tag of the
// present command.
type speech struct {
	serve         func(*Session)
	before, after string // default capabilities ahead of a login and after it: words for IMAP, else lines
	startTLS      string // the capability and the command
	goAhead       string // answer to it
	accepted      string // answers to a login; IMAP puts the tag ahead
	refused       string
	unavailable   string
	kicked        string // farewell of Kick
	tooMuch       string // farewell to a peer over a limit
	malformed     string // farewell to a peer that sends a bare CR, a bare LF or a NUL
}

const (
	mechanisms = "PLAIN LOGIN XOAUTH2 OAUTHBEARER"
	smtpBase   = "PIPELINING\nSIZE 134217728\n8BITMIME\nENHANCEDSTATUSCODES"
)

// speechOf is what p says. It is no variable, since the commands refer back to it.
func speechOf(p Protocol) (speech, bool) {
	switch p {
	case IMAP:
		return imapSpeech(), true
	case POP3:
		return popSpeech(), true
	case ManageSieve:
		return sieveSpeech(), true
	case Submission:
		sp := smtpSpeech()
		sp.before += "\nAUTH " + mechanisms
		return sp, true
	case SMTP, LMTP:
		return smtpSpeech(), true
	default:
		return speech{}, false
	}
}

func imapSpeech() speech {
	return speech{serve: serveIMAP, startTLS: "STARTTLS", goAhead: "{tag} OK Begin TLS\r\n",
		before: defaultCaps, after: defaultCapsAfter,
		accepted:    "OK Logged in on {name}",
		refused:     "NO [AUTHENTICATIONFAILED] Authentication failed.",
		unavailable: "NO [UNAVAILABLE] Try again later.",
		kicked:      "* BYE Kicked by {name}\r\n",
		tooMuch:     "* BYE Too much input\r\n",
		malformed:   "* BYE Malformed line\r\n",
	}
}

func popSpeech() speech {
	base := "TOP\nUIDL\nRESP-CODES\nPIPELINING\nAUTH-RESP-CODE\nUTF8"
	return speech{serve: servePOP3, startTLS: "STLS", goAhead: "+OK Begin TLS\r\n",
		before: base + "\nUSER\nSASL " + mechanisms, after: base + "\nEXPIRE NEVER",
		accepted:    "+OK Logged in on {name}",
		refused:     "-ERR [AUTH] Authentication failed.",
		unavailable: "-ERR [SYS/TEMP] Try again later.",
		kicked:      "-ERR [SYS/TEMP] Kicked by {name}\r\n",
		tooMuch:     "-ERR Too much input\r\n",
		malformed:   "-ERR Malformed line\r\n",
	}
}

func sieveSpeech() speech {
	base := "VERSION 1.0\nSIEVE fileinto reject vacation"
	return speech{serve: serveSieve, startTLS: "STARTTLS", goAhead: "OK \"Begin TLS\"\r\n",
		before: base + "\nSASL " + mechanisms, after: base + "\nMAXREDIRECTS 4",
		accepted:    `OK "Logged in on {name}"`,
		refused:     `NO "Authentication failed."`,
		unavailable: `NO (TRYLATER) "Try again later."`,
		kicked:      "BYE \"Kicked by {name}\"\r\n",
		tooMuch:     "BYE \"Too much input\"\r\n",
		malformed:   "BYE \"Malformed line\"\r\n",
	}
}

func smtpSpeech() speech {
	return speech{serve: serveSMTP, startTLS: "STARTTLS", goAhead: "220 2.0.0 Begin TLS\r\n",
		before: smtpBase, after: smtpBase,
		accepted:    "235 2.7.0 Logged in on {name}",
		refused:     "535 5.7.8 Authentication failed.",
		unavailable: "454 4.7.0 Try again later.",
		kicked:      "421 4.3.2 Kicked by {name}\r\n",
		tooMuch:     "421 4.3.2 Too much input\r\n",
		malformed:   "421 4.3.2 Malformed line\r\n",
	}
}
