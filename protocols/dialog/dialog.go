package dialog

// Machine is one side of a pre-authentication dialogue. It is used by one goroutine at a time.
type Machine interface {
	// Feed offers bytes from the machine's own peer and reports how many it consumed.
	Feed(p []byte) int
	// Next hands out the next action, or one of Kind None.
	Next() Action
	// Tell reports what happened outside. An event that has no meaning in the present state is ignored.
	Tell(Event)
	// State names the present state for debug logs.
	State() string
	// Release zeroes and gives back every buffer. The machine must not be used afterwards.
	Release()
}

// Kind says what an Action asks for.
type Kind uint8

// The actions.
const (
	// None: nothing to do until there is more input or an event.
	None Kind = iota
	// Write sends Bytes to the machine's own peer.
	Write
	// StartTLS starts the handshake on the machine's own leg. On the client side Bytes are the go-ahead, which the driver
	// writes only if no input is left, neither unconsumed nor in the socket; on the backend side, where it has been read,
	// Bytes are empty. Either way input that is left ends the session (SPEC 3, 6). The answer is TLSUp.
	StartTLS
	// LoginReady (client side) carries a complete Login, owned by the driver from now on. The answer is a Verdict event,
	// before it possibly Relayed events.
	LoginReady
	// Relay hands Bytes to the other side's machine as a Relayed event: an OAuth challenge from the backend side, the
	// client's answer from the client side; decoded from base64 (SPEC 6.1).
	Relay
	// Done (backend side) carries the backend's Verdict. Input behind it is the tail for the client.
	Done
	// Close ends the leg for Reason once everything written before is flushed.
	Close
)

// Action is one thing that a machine wants done.
type Action struct {
	Kind    Kind
	Bytes   []byte   // Write, StartTLS, Relay: valid until the next call
	Secret  bool     // Write: Bytes hold credentials; the leg must be fit for them, no retry afterwards (SPEC 6, 2.1)
	Login   *Login   // LoginReady
	Verdict *Verdict // Done: valid until Release
	Reason  Reason   // Close
}

// EventKind says what happened outside a machine.
type EventKind uint8

// The events.
const (
	// Begin starts the dialogue: the client side greets.
	Begin EventKind = iota + 1
	// TLSUp answers StartTLS: the leg is encrypted, state is as if freshly connected.
	TLSUp
	// Decided answers LoginReady with Event.Verdict.
	Decided
	// Relayed carries the Bytes of the other side's Relay.
	Relayed
	// Expire: the pre-auth deadline has passed (SPEC 2.3). The machine words its farewell and closes.
	Expire
	// Drain: the process is shutting down. Farewell and close.
	Drain
	// Busy: a limit was met (SPEC 12). Farewell and close; before Begin it is the greeting.
	Busy
	// Kicked: an administrator ended the session (SPEC 8). Farewell and close.
	Kicked
)

// Event is one thing that happened outside a machine.
type Event struct {
	Kind    EventKind
	Verdict *Verdict // Decided
	Bytes   []byte   // Relayed: valid during the call
}

// Outcome is the class of a Verdict.
type Outcome uint8

// The outcomes.
const (
	// Accepted: the backend let the account in; the legs can be joined.
	Accepted Outcome = iota + 1
	// Refused: the backend said no for good, or a rule of SPEC 4 did. Counts for max_auth_attempts.
	Refused
	// Unavailable: nobody could say; temporary. Not a failed attempt (SPEC 6.1).
	Unavailable
)

// Verdict is what became of a Login. The zero texts mean the generic ones of SPEC 6.1, which the client side words.
type Verdict struct {
	Outcome Outcome
	// Before holds whole lines that the backend sent ahead of its answer and that the client must see, CRLF included.
	Before []byte
	// Answer is the backend's final answer without tag and CRLF, such as "OK [CAPABILITY IMAP4rev1] Logged in", "+OK Logged
	// in." or "235 2.7.0 Authentication successful"; further lines of it come in Before. Empty: the client side uses its
	// own words.
	Answer []byte
	// Capabilities is the backend's capability list after the login, as far as it was read; may be empty.
	Capabilities []byte
	// ForwardingIgnored: the backend does not trust us to announce clients (BACKENDS: warned once per destination).
	ForwardingIgnored bool
	// NotOffered: refused without asking the backend, since it lacks the mechanism or cannot carry the login (SPEC 6.1).
	NotOffered bool
}

// Reason says why a machine closed; a closed set, used as log value and metric label.
type Reason uint8

// The reasons.
const (
	NoReason      Reason = iota
	Logout               // the peer said goodbye in the protocol's words
	Attempts             // max_auth_attempts is used up
	Limit                // a line, literal or command was over its bound
	Timeout              // the pre-auth deadline passed
	Draining             // the process is shutting down
	TooBusy              // a connection limit was met
	KickedOut            // an administrator ended it
	NotMail              // the first command belongs to another protocol (SPEC 12)
	Injection            // bytes behind STARTTLS or its go-ahead (SPEC 3, 6)
	Syntax               // the peer broke the protocol
	BadGreeting          // backend: greeting is not a ready one (BYE, PREAUTH, 421, garbage)
	NoStartTLS           // backend: STARTTLS not offered or refused
	BackendClosed        // backend: it said goodbye before the verdict
)

var reasonNames = [...]string{"", "logout", "attempts", "limit", "timeout", "drain", "busy", "kick", "not_mail", "injection",
	"syntax", "bad_greeting", "no_starttls", "backend_closed"}

// String is the name used in logs and metric labels.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}
