package proxy

import (
	"fmt"
	"log/slog"
	"strings"

	"mailsplice/core/config"
	"mailsplice/tlsx/ktls"
)

// kernelReport is what was found out about the kernel: *ktls.Support.
type kernelReport interface {
	Any() bool
	Missing() []string
	String() string
}

// kernelTLS finds out what the kernel can do about TLS and whether it must (SPEC 2.1 server.ktls); nil: it is not to do
// anything. It comes before the change of user, since the kernel loads its module for root only.
func kernelTLS(mode config.KTLS, log *slog.Logger) (*ktls.Support, error) {
	if mode == config.KTLSOff {
		return nil, nil
	}
	s := ktls.Probe()
	return s, judge(mode, s, log)
}

// judge says what was found, and fails if more is required: every version and cipher in both directions, since which of them a
// session gets is up to its peers.
func judge(mode config.KTLS, found kernelReport, log *slog.Logger) error {
	missing := found.Missing()
	if mode == config.KTLSRequire && len(missing) > 0 {
		return fmt.Errorf("server.ktls: found require, but this kernel cannot: %s; does `modprobe tls` help?", brief(found, missing))
	}
	if !found.Any() {
		log.Info("kernel TLS is not available: sessions in TLS stay in lane record", "missing", brief(found, missing))
		return nil
	}
	log.Info("kernel TLS is available", "can", found.String())
	return nil
}

// brief names what is missing; one reason will do if that is everything.
func brief(found kernelReport, missing []string) string {
	if !found.Any() {
		return "anything (" + missing[0] + ")"
	}
	return strings.Join(missing, "; ")
}
