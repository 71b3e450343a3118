package proxy

import (
	"mailsplice/core/config"
	"mailsplice/core/session"
	"mailsplice/protocols/imap"
	"mailsplice/protocols/managesieve"
	"mailsplice/protocols/pop3"
	"mailsplice/protocols/sasl"
	"mailsplice/protocols/submission"
)

// speaker makes what words the dialogues of a listener; nil for http.
func speaker(cfg *config.Config, l *config.Listener) session.Speaker {
	startTLS, claim, c := l.TLS == config.TLSStart, cfg.OAuth.JWTUsernameClaim, &cfg.Capabilities
	switch l.Protocol {
	case config.IMAP:
		return &session.IMAPSpeaker{Options: &imap.ClientOptions{Banner: c.IMAP.Banner, Advertise: c.IMAP.Advertise,
			Mechanisms: mechanisms(c.IMAP.SASL), StartTLSOffered: startTLS, AllowPlainAuth: c.IMAP.AllowPlainAuthWithoutTLS,
			TokenClaim: claim, MaxAttempts: l.MaxAuthAttempts}}
	case config.POP3:
		return &session.POP3Speaker{Options: &pop3.ClientOptions{Banner: c.POP3.Banner, Advertise: c.POP3.Capa,
			Mechanisms: mechanisms(c.POP3.SASL), StartTLSOffered: startTLS, AllowPlainAuth: c.POP3.AllowPlainAuthWithoutTLS,
			TokenClaim: claim, MaxAttempts: l.MaxAuthAttempts}}
	case config.ManageSieve:
		return &session.SieveSpeaker{Options: &managesieve.ClientOptions{Banner: c.ManageSieve.Banner,
			Implementation: c.ManageSieve.Implementation, Sieve: c.ManageSieve.Sieve,
			Mechanisms: mechanisms(c.ManageSieve.SASL), StartTLSOffered: startTLS, AllowPlainAuth: c.ManageSieve.AllowPlainAuthWithoutTLS,
			TokenClaim: claim, MaxAttempts: l.MaxAuthAttempts}}
	case config.Submission:
		return &session.SubmissionSpeaker{Options: &submission.ClientOptions{Hostname: cfg.Server.Hostname, Banner: c.Submission.Banner,
			Advertise: c.Submission.EHLO, Mechanisms: mechanisms(c.Submission.SASL), StartTLSOffered: startTLS,
			AllowPlainAuth: c.Submission.AllowPlainAuthWithoutTLS, TokenClaim: claim, MaxAttempts: l.MaxAuthAttempts}}
	case config.SMTP, config.LMTP:
		return &session.PassThroughSpeaker{Hostname: cfg.Server.Hostname, LMTP: l.Protocol == config.LMTP}
	}
	return nil
}

func mechanisms(names []string) (list []sasl.Mechanism) {
	for _, name := range names {
		list = append(list, sasl.Parse(name))
	}
	return list
}
