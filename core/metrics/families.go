package metrics

import (
	"bytes"
	"io"
	"strings"
)

// family is one name in the text form: what `# TYPE` and `# HELP` say about it, and its labels, `le` aside.
type family struct {
	kind   string // counter, gauge or histogram
	help   string
	labels string // space-separated, in the order of the series
}

// families are all that a Set can show under its own names (SPEC 10). Making a series of another family, or with other
// labels, is a bug and panics.
var families = map[string]family{
	"connections_accepted_total": {"counter", "Connections accepted from the kernel, those refused afterwards too.", "listener"},
	"connections_refused_total":  {"counter", "Connections turned away, by reason.", "listener reason"},
	"preauth_connections":        {"gauge", "Connections not authenticated yet.", "listener"},
	"sessions":                   {"gauge", "Joined sessions.", "protocol destination lane"},
	"logins_total":               {"counter", "Logins by result; destination is empty when none was found.", "protocol destination result"},
	"login_phase_seconds":        {"histogram", "Time that the phases of a login take.", "phase"},
	"bytes_total":                {"counter", "Bytes of joined sessions, as the client sees them.", "protocol direction"},
	"cache_hits":                 {"counter", "Look-ups that the cache answered.", ""},
	"cache_misses":               {"counter", "Look-ups that went to the mapping store.", ""},
	"cache_evictions":            {"counter", "Cache entries given up for space.", ""},
	"cache_entries":              {"gauge", "Cache entries, stale ones included.", ""},
	"store_errors_total":         {"counter", "Look-ups that the mapping store failed.", "source"},
	"destination_down":           {"gauge", "1 while logins for the destination are turned away.", "destination"},
	"destination_failures":       {"gauge", "Logins in a row that the destination gave no verdict on.", "destination"},
	"loop_lag_seconds":           {"histogram", "Longest turn of an event loop, sampled each second.", ""},
	"takeover_failed_total":      {"counter", "TLS connections whose keys could not be taken over, by reason.", "reason"},
	"certificate_expiry_seconds": {"gauge", "Time until the certificate expires; negative afterwards.", "name"},
}

// prefix is in front of every family.
const prefix = "mailsplice_"

// suffixes of a histogram's series.
var suffixes = []string{"_bucket", "_sum", "_count"}

// familyOf is the family, prefix included, that one line of the text form belongs to.
func familyOf(line []byte) string {
	name := string(line[:max(0, bytes.IndexAny(line, "{ "))])
	for _, s := range suffixes {
		if base, ok := strings.CutSuffix(name, s); ok && families[strings.TrimPrefix(base, prefix)].kind == "histogram" {
			return base
		}
	}
	return name
}

// describe copies the text form from p to w with `# HELP` and `# TYPE` in front of each family. The series of a family
// follow one another.
func describe(w io.Writer, p []byte) {
	last := ""
	for line := range bytes.Lines(p) {
		name := familyOf(line)
		if f, ok := families[strings.TrimPrefix(name, prefix)]; ok && name != last {
			io.WriteString(w, "# HELP "+name+" "+f.help+"\n# TYPE "+name+" "+f.kind+"\n")
		}
		last = name
		w.Write(line)
	}
}

// fits panics unless the family exists and has these labels.
func fits(name string, labels []string) {
	f, ok := families[name]
	if !ok {
		panic("bug: no metric family " + name)
	}
	want := strings.Fields(f.labels)
	for i, l := range want {
		if 2*i >= len(labels) || labels[2*i] != l {
			panic("bug: labels of " + name + " are " + f.labels)
		}
	}
	if len(labels) != 2*len(want) {
		panic("bug: labels of " + name + " are " + f.labels)
	}
}
