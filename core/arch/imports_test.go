package arch

import (
	"fmt"
	"slices"
	"strings"
)

// allowed is the table of STYLE 1: what each package may import from this repository. `x/*` is everything below x; a
// package that is not here may import nothing.
var allowed = map[string][]string{
	"cmd/mailsplice":        {"core/proxy", "core/config", "core/admin", "core/mailfake", "core/mailfake/*"},
	"core/proxy":            {"core/*", "protocols/*", "tlsx", "tlsx/*"},
	"core/session":          {"protocols/*", "core/bridge", "core/dial", "core/route", "core/health", "core/limits", "core/logx", "core/metrics", "tlsx"},
	"core/bridge":           {"core/engine", "tlsx/record", "tlsx/ktls"},
	"core/admin":            {"core/logx", "core/metrics"},
	"core/httpfront":        {"core/logx", "core/metrics", "protocols/http", "core/bridge", "core/dial", "core/route", "core/health", "core/limits", "core/session", "tlsx"},
	"protocols/dialog/*":    {"protocols/dialog"}, // its test runner
	"protocols/sasl":        {"protocols/dialog", "protocols/wire"},
	"protocols/imap":        machines,
	"protocols/pop3":        machines,
	"protocols/managesieve": machines,
	"protocols/submission":  machines,
	"protocols/passthrough": preambles,
	"protocols/proxyproto":  preambles,
	"protocols/xclient":     preambles,
	"protocols/http":        preambles,
	"tlsx":                  {"tlsx/record", "tlsx/ktls"},
	"tlsx/record":           {"tlsx/gcm"}, // AES-GCM by vector instructions, apart because it is the only assembly
	"tlsx/ktls":             {"tlsx/record"},
	"tlsx/tlstest":          {"tlsx/record", "tlsx/tlstest/*"},
	"bench":                 {"bench/*"},
	"bench/scenario":        {"bench/stage", "bench/load", "bench/measure", "bench/report", "bench/suite"},
	"bench/stage":           {"bench/child", "bench/load", "bench/mock", "bench/naive", "bench/measure", "bench/suite"}, // proxies are black boxes: processes and ports
	"bench/peers":           {"bench/stage", "bench/child", "bench/load", "bench/measure", "bench/suite"},
	"bench/load":            {"bench/child", "bench/measure", "bench/suite"},
	"bench/mock":            {"bench/child", "bench/suite"},
	"bench/naive":           {"bench/child"},
	"bench/report":          {"bench/measure"},
}

var (
	machines  = []string{"protocols/dialog", "protocols/wire", "protocols/sasl", "protocols/token"}
	preambles = []string{"protocols/dialog", "protocols/wire", "protocols/token"}
)

// deviation is an import against the rules of STYLE 1, with the reason that STYLE 4 asks for.
type deviation struct{ from, to, reason string }

var deviations = []deviation{
	{"core/session", "core/engine", "the loop that owns the client leg feeds the machine itself (DESIGN 5), so the session is code on a loop"},

	{"core/session", "tlsx/record", "before the join the loop opens and seals the client leg's records itself (DESIGN 5)"},
	{"core/session", "tlsx/ktls", "what core/proxy found out about the kernel is handed on to the bridges, which the sessions make"},
	{"protocols/sasl", "protocols/token", "a frame without a user gets its identifier from the token (SPEC 4 point 1), in one place for all protocols"},
	{"protocols/submission", "protocols/xclient", "announcing a client is part of the dialogue (SPEC 5.2); its wording is shared by five protocols"},
	{"core/interop", "core/mailfake", "the raw client of the suite; a package of test support like its import"},
	{"core/interop", "core/mailfake/port", "as above"},
	{"bench/stage", "core/mailfake/port", "core/mailfake is for tests, bench and demo, but bench is not in its row"},

	{"protocols/pop3", "protocols/xclient", "both sides speak XCLIENT (SPEC 3, 5.2), whose words are in one place for all protocols"},
	{"protocols/managesieve", "protocols/xclient", "the dialogue announces the client by XCLIENT (SPEC 3, 5.2), whose words are in one place for all protocols"},
	{"protocols/passthrough", "protocols/xclient", "the preamble announces the client by XCLIENT (SPEC 3.5), whose words are in one place for all protocols"},

	{"core/store/redis", "core/store/channel", "the channel of notices is kept open in the same way whatever the server (SPEC 4.2)"},
	{"core/store/sql", "core/store/channel", "the channel of notices is kept open in the same way whatever the server (SPEC 4.2)"},

	{"protocols/proxyproto", "net", "the library that writes the header speaks in net.Addr (DESIGN 7)"},
}

// foreign is what pure machines keep away from: files, sockets, clocks, logs (STYLE 1).
var foreign = []string{"net", "os", "time", "syscall", "log", "golang.org/x/sys"}

// netpoll is an engine for what is never handed over.
const netpoll = "github.com/cloudwego/netpoll"

// checkImports applies the table, and the rules below it in STYLE 1 that the table does not show.
func checkImports(t *tree) (findings []string) {
	for _, f := range t.files {
		for _, i := range t.imports(f) {
			if why := objection(f, i); why != "" {
				findings = append(findings, fmt.Sprintf("%s:%d: imports %s: %s", f.path, i.line, i.path, why))
			}
		}
	}
	return findings
}

// objection is why f must not import i, empty when it may. Tests may bring in whatever they test with, but a machine's
// tests do not reach above the machine.
func objection(f *source, i imported) string {
	pure := below(f.dir, "protocols")
	switch {
	case pure && i.own && (below(i.path, "core") || below(i.path, "tlsx")):
		return "a protocol knows nothing of core and tlsx"
	case f.test, excused(f.dir, i.path):
		return ""
	case pure && !i.own && i.path != "net/netip" && slices.ContainsFunc(foreign, func(p string) bool { return below(i.path, p) }):
		return "a protocol does no I/O and reads no clock"
	case i.own && i.path == "core/config" && f.dir != "core/proxy" && f.dir != "cmd/mailsplice":
		return "only core/proxy and cmd know the configuration"
	case i.own && below(i.path, "protocols") && (f.dir == "core/engine" || f.dir == "core/bridge"):
		return "engine and bridge know nothing of mail"
	case !i.own && below(i.path, netpoll) && f.dir != "bench/mock":
		return "only the mock backends run on netpoll (DESIGN 2)"
	case i.own && !permitted(f.dir, i.path):
		return "not in the table of STYLE 1"
	}
	return ""
}

func excused(from, to string) bool {
	return slices.ContainsFunc(deviations, func(d deviation) bool { return d.from == from && d.to == to })
}

func permitted(from, to string) bool {
	for pattern, targets := range allowed {
		if matches(from, pattern) && slices.ContainsFunc(targets, func(p string) bool { return matches(to, p) }) {
			return true
		}
	}
	return false
}

func matches(pkg, pattern string) bool {
	parent, wild := strings.CutSuffix(pattern, "/*")
	return pkg == pattern || wild && strings.HasPrefix(pkg, parent+"/")
}

func below(pkg, parent string) bool { return pkg == parent || strings.HasPrefix(pkg, parent+"/") }
