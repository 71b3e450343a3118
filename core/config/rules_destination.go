package config

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"slices"
)

func endpointKey(d *Destination, e *Endpoint) string {
	return join("destination", d.Name) + ".protocol." + e.Protocol.String()
}

func (k *checker) destinationRules() {
	for _, d := range k.c.Destinations {
		k.serverNameRule(d)
		k.verificationRule(d)
		k.clientCertificateRule(d)
		for _, e := range d.Endpoints {
			k.legRule(d, e)
		}
		k.announceRule(d)
	}
}

// usesTLS reports whether any leg to d is encrypted.
func usesTLS(d *Destination) bool {
	return slices.ContainsFunc(d.Endpoints, func(e *Endpoint) bool { return e.TLS == TLSImplicit || e.TLS == TLSStart })
}

// serverNameRule: an address is no name to verify, so one is required unless the certificate goes unchecked or is checked
// against a bundle of one's own, where certificates for addresses are usual (SPEC 2.4).
func (k *checker) serverNameRule(d *Destination) {
	platform := d.TLSCA == "" && !d.TLSAllowInvalidCerts
	key := join("destination", d.Name) + ".tls_server_name"
	if d.TLSServerName != "" || !usesTLS(d) || !platform && d.TLSPinnedCertSHA256 == nil || k.failed(key) {
		return
	}
	for _, host := range d.Hosts {
		if _, err := netip.ParseAddr(host); err == nil {
			k.fail(key, "nothing", fmt.Sprintf("the name in the backend's certificate, since the host is an address (%s)", host))
			return
		}
	}
}

func (k *checker) verificationRule(d *Destination) {
	key := join("destination", d.Name)
	if d.TLSAllowInvalidCerts {
		allowed := "false: anybody on the way can read every password"
		if d.TLSPinnedCertSHA256 != nil {
			allowed = "false: the pin is enforced all the same"
		}
		k.warn(key+".tls_allow_invalid_certs", "true", allowed)
	}
	if d.TLSCA == "" {
		return
	}
	pem, err := read(d.TLSCA, maxPEM)
	if err == nil && !x509.NewCertPool().AppendCertsFromPEM(pem) {
		k.fail(key+".tls_ca", quote(d.TLSCA)+" without a certificate", "a PEM bundle of certificates")
	}
	if err != nil {
		k.fail(key+".tls_ca", quote(d.TLSCA)+": "+cause(err).Error(), "a PEM bundle that can be read")
	}
}

func (k *checker) clientCertificateRule(d *Destination) {
	cert, key := join("destination", d.Name)+".tls_client_cert", join("destination", d.Name)+".tls_client_key"
	switch {
	case d.TLSClientCert != "" && d.TLSClientKey != "":
		k.pair(cert, d.TLSClientCert, key, d.TLSClientKey)
	case d.TLSClientCert != "" && !k.failed(key):
		k.fail(key, "nothing", "the key of tls_client_cert")
	case d.TLSClientKey != "" && !k.failed(cert):
		k.fail(cert, "nothing", "the certificate of tls_client_key")
	}
}

// legRule: no credentials in the clear unless asked for, and no STARTTLS in HTTP (SPEC 2.11).
func (k *checker) legRule(d *Destination, e *Endpoint) {
	key := endpointKey(d, e) + ".tls"
	if e.Protocol == HTTP && e.TLS == TLSStart {
		k.fail(key, `"starttls"`, "implicit or plain for http")
	}
	if e.Protocol.Credentials() && e.TLS == TLSPlain && !d.AllowPlaintextAuth {
		k.fail(key, `"plain"`, "implicit or starttls, or allow_plaintext_auth = true on the destination")
	}
}

// announceRule: a backend that believes XCLIENT from the proxy believes it from whoever the proxy joins to it, so
// pass-through must not go there unannounced (SPEC 2.11).
func (k *checker) announceRule(d *Destination) {
	trusts := d.Forwarding == ForwardXClient || slices.ContainsFunc(d.Endpoints, func(e *Endpoint) bool {
		return e.Forwarding == ForwardXClient
	})
	for _, e := range d.Endpoints {
		if trusts && e.Protocol.PassThrough() && e.Forwarding == ForwardNone {
			k.fail(endpointKey(d, e)+".forwarding", `"none" beside xclient elsewhere on the destination`,
				"xclient or proxy: otherwise any sender could announce itself")
		}
	}
}
