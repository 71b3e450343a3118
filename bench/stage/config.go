package stage

import (
	"encoding/hex"
	"fmt"
	"net"
	"strings"

	"mailsplice/bench/load"
)

// configuration is mailsplice's (SPEC 2): one IMAP entrance, a destination for each backend, a mapping file. What differs
// from the defaults is what a measurement needs: no limit of connections, and clients that may think before they log in.
func configuration(s *Setting, admin string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "[server]\nhostname = %q\nshutdown_grace = \"1s\"\nreuse_port = %v\n", ProxyName, s.Processes > 1)
	if s.LogLevel != "" {
		fmt.Fprintf(&b, "log_level = %q\n", s.LogLevel)
	}
	fmt.Fprintf(&b, "\n[tls.certificate.bench]\ncert = \"cert.pem\"\nkey = \"key.pem\"\ndefault = true\n")
	fmt.Fprintf(&b, "\n[listener.imap]\nprotocol = \"imap\"\nbind = [%q]\ntls = %q\nmax_connections = 0\npreauth_timeout = \"1h\"\n",
		s.Listen, legTLS(s.ClientTLS))
	if !s.ClientTLS {
		b.WriteString("\n[capabilities.imap]\nallow_plain_auth_without_tls = true\n")
	}
	for i, addr := range s.Backends {
		destination(&b, s, i, addr)
	}
	b.WriteString("\n[mapping]\nsource = \"file\"\n[mapping.file]\npath = \"mappings.tsv\"\n")
	fmt.Fprintf(&b, "\n[routing]\ndefault_destination = %q\n", BackendName(0))
	fmt.Fprintf(&b, "\n[admin]\nbind = %q\n", admin)
	return b.String()
}

func destination(b *strings.Builder, s *Setting, i int, addr string) {
	host, port, _ := net.SplitHostPort(addr)
	fmt.Fprintf(b, "\n[destination.%s]\nhost = %q\nforwarding = \"none\"\n", BackendName(i), host)
	if s.BackendTLS {
		fmt.Fprintf(b, "tls_server_name = %q\ntls_pinned_cert_sha256 = %q\n", BackendHost, hex.EncodeToString(s.Back.SHA256[:]))
	} else {
		b.WriteString("allow_plaintext_auth = true\n")
	}
	fmt.Fprintf(b, "[destination.%s.protocol.imap]\nport = %s\ntls = %q\n", BackendName(i), port, legTLS(s.BackendTLS))
}

func legTLS(on bool) string {
	if on {
		return "implicit"
	}
	return "plain"
}

// mappings is the file's text.
func mappings(accounts int, destination func(account int) int) string {
	var b strings.Builder
	for i := range accounts {
		fmt.Fprintf(&b, "%s\t%s\n", load.Account(i), BackendName(destination(i)))
	}
	return b.String()
}
