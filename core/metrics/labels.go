package metrics

import "strings"

// Refusal is why a new connection was turned away.
type Refusal uint8

// The reasons (SPEC 2.1, 2.3, 12).
const (
	RefusedListener    Refusal = iota // the listener's max_connections
	RefusedPreauth                    // max_preauth
	RefusedAddress                    // max_sessions_per_ip
	RefusedDescriptors                // the process is near its descriptor limit
	RefusedProxy                      // PROXY header missing, malformed or from an untrusted peer
	RefusedDraining                   // shutting down
	refusals
)

var refusalNames = [refusals]string{"max_connections", "max_preauth", "max_sessions_per_ip", "descriptors", "proxy_header", "draining"}

// String is the label.
func (r Refusal) String() string { return name(refusalNames[:], int(r)) }

// Result is how a login ended.
type Result uint8

// The results.
const (
	Accepted    Result = iota // the backend let the account in
	Refused                   // it said no for good, or a rule did
	Unavailable               // nobody could say
	Canceled                  // the client left, or was kicked, before the verdict
	results
)

var resultNames = [results]string{"accepted", "refused", "unavailable", "canceled"}

// String is the label.
func (r Result) String() string { return name(resultNames[:], int(r)) }

// Phase is a timed part of a login.
type Phase uint8

// The phases (SPEC 10).
const (
	PhaseTLS        Phase = iota // the client's handshake
	PhaseLookup                  // identifier to destination
	PhaseConnect                 // name resolution included
	PhaseBackendTLS              // the backend's handshake
	PhaseAuth                    // from the backend's greeting to its verdict
	phases
)

var phaseNames = [phases]string{"tls", "lookup", "connect", "backend_tls", "auth"}

// String is the label.
func (p Phase) String() string { return name(phaseNames[:], int(p)) }

func name(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown"
}

// Label values may hold anything in Prometheus's text form once these three are escaped.
var escape = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// series is the full name of one series: the prefix, the family and its labels, given as key, value, key, value.
func series(family string, labels ...string) string {
	var b strings.Builder
	b.WriteString(prefix)
	b.WriteString(family)
	for i := 0; i+1 < len(labels); i += 2 {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(labels[i])
		b.WriteString(`="`)
		b.WriteString(escape.Replace(labels[i+1]))
		b.WriteByte('"')
	}
	if len(labels) > 0 {
		b.WriteByte('}')
	}
	return b.String()
}
