package proxy

import (
	"cmp"
	"fmt"
	"strings"
)

const rigConfig = `
[server]
hostname = "localhost"
threads = 2
shutdown_grace = "%[13]s"
log_level = "debug"
%[1]s
[listener.PROTO]
protocol = "PROTO"
bind = ["%[2]s"]
tls = "%[14]s"
%[3]s
%[17]s
[destination.legacy]
%[19]s
allow_plaintext_auth = true
forwarding = "%[12]s"
%[18]s
%[4]s
[destination.legacy.protocol.PROTO]
port = %[5]d
tls = "%[15]s"
[destination.new]
host = "127.0.0.1"
allow_plaintext_auth = true
forwarding = "none"
%[20]s
%[6]s
[destination.new.protocol.PROTO]
port = %[7]d
tls = "%[16]s"
[mapping]
source = "file"
%[8]s
[mapping.file]
path = "mappings"
[routing]
default_destination = "legacy"
%[9]s
[admin]
bind = "%[10]s"
bearer_token = "` + bearer + `"
%[11]s
`

// config words a stage.
func (r *rig) config(s stage) string {
	if !s.legacyAddr.IsValid() {
		s.legacyAddr = r.legacy.Addr()
	}
	grace := "100ms"
	if s.long {
		grace = "1h"
	}
	check := func(name, pin string) string {
		return fmt.Sprintf("tls_server_name = %q\ntls_pinned_cert_sha256 = %q", name, pin)
	}
	own := pin(backendCertificate())
	legacy := check("legacy.test", cmp.Or(s.legacyPin, own))
	if s.legacyTrust != "" {
		legacy = "tls_server_name = \"legacy.test\"\n" + s.legacyTrust
	}
	text := fmt.Sprintf(rigConfig, s.server, cmp.Or(s.bind, freePort(r.t)), s.listener, s.legacy, s.legacyAddr.Port(), s.new, r.new.Addr().Port(),
		s.mapping, s.routing+passThroughTo(s.protocol), freePort(r.t), s.rest, cmp.Or(s.legacyForwarding, "none"), grace, mode.listenerOf(s), mode.legacyOf(s), mode.newOf(s),
		capabilities(s), cmp.Or(s.legacyCheck, legacy), cmp.Or(s.legacyHost, `host = "127.0.0.1"`), check("new.test", own))
	return strings.ReplaceAll(text, "PROTO", s.protocol)
}

// listenerOf is the listener's TLS. What is passed through has no STARTTLS of ours (SPEC 2.11).
func (l legs) listenerOf(s stage) string {
	if s.listenerTLS == "" && l.listener == "starttls" && passesThrough(s.protocol) {
		return "implicit"
	}
	return cmp.Or(s.listenerTLS, l.listener)
}

func (l legs) legacyOf(s stage) string { return cmp.Or(s.legacyTLS, l.legacy) }

func (l legs) newOf(s stage) string { return cmp.Or(s.newTLS, l.new) }

func passesThrough(protocol string) bool { return protocol == "smtp" || protocol == "lmtp" }

func passThroughTo(protocol string) string {
	if !passesThrough(protocol) {
		return ""
	}
	return "\nsmtp_passthrough_destination = \"legacy\""
}

// capabilities is the section for a listener with a dialogue; behind LMTP stands the SMTP leg that must be there.
func capabilities(s stage) string {
	switch {
	case s.protocol == "lmtp":
		return "[destination.legacy.protocol.smtp]\nport = 25\ntls = \"plain\""
	case passesThrough(s.protocol):
		return ""
	}
	return "[capabilities.PROTO]\n" + cmp.Or(s.capabilities, "allow_plain_auth_without_tls = "+cmp.Or(s.plainAuth, "true"))
}
