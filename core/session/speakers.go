package session

import (
	"cmp"
	"net/netip"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/imap"
	"mailsplice/protocols/managesieve"
	"mailsplice/protocols/passthrough"
	"mailsplice/protocols/pop3"
	"mailsplice/protocols/submission"
)

// IMAPSpeaker makes the machines of an IMAP listener.
type IMAPSpeaker struct {
	Options *imap.ClientOptions
}

// Client makes the client side.
func (sp *IMAPSpeaker) Client(f Facts) dialog.Machine {
	return imap.NewClientSide(sp.Options, imap.ClientFacts{TLS: f.TLS, TrustedPeer: f.TrustedPeer})
}

// Backend makes the backend side.
func (sp *IMAPSpeaker) Backend(f BackendFacts) dialog.Machine {
	o := imap.BackendOptions{StartTLS: f.StartTLS, Forward: f.Forward, HideRefusals: f.HideRefusals}
	return imap.NewBackendSide(o, f.Login)
}

// POP3Speaker makes the machines of a POP3 listener.
type POP3Speaker struct {
	Options *pop3.ClientOptions
}

// Client makes the client side.
func (sp *POP3Speaker) Client(f Facts) dialog.Machine {
	return pop3.NewClientSide(sp.Options, pop3.ClientFacts{TLS: f.TLS, TrustedPeer: f.TrustedPeer})
}

// Backend makes the backend side.
func (sp *POP3Speaker) Backend(f BackendFacts) dialog.Machine {
	o := pop3.BackendOptions{StartTLS: f.StartTLS, Forward: f.Forward, HideRefusals: f.HideRefusals}
	return pop3.NewBackendSide(o, f.Login)
}

// SieveSpeaker makes the machines of a ManageSieve listener.
type SieveSpeaker struct {
	Options *managesieve.ClientOptions
}

// Client makes the client side.
func (sp *SieveSpeaker) Client(f Facts) dialog.Machine {
	return managesieve.NewClientSide(sp.Options, managesieve.ClientFacts{TLS: f.TLS, TrustedPeer: f.TrustedPeer})
}

// Backend makes the backend side.
func (sp *SieveSpeaker) Backend(f BackendFacts) dialog.Machine {
	o := managesieve.BackendOptions{StartTLS: f.StartTLS, Forward: f.Forward, HideRefusals: f.HideRefusals}
	return managesieve.NewBackendSide(o, f.Login)
}

// SubmissionSpeaker makes the machines of a submission listener.
type SubmissionSpeaker struct {
	Options *submission.ClientOptions
}

// Client makes the client side.
func (sp *SubmissionSpeaker) Client(f Facts) dialog.Machine {
	return submission.NewClientSide(sp.Options,
		submission.ClientFacts{TLS: f.TLS, TrustedPeer: f.TrustedPeer, Hostname: submission.Literal(f.Local)})
}

// Backend makes the backend side.
func (sp *SubmissionSpeaker) Backend(f BackendFacts) dialog.Machine {
	o := submission.BackendOptions{StartTLS: f.StartTLS, Forward: f.Forward, HideRefusals: f.HideRefusals,
		Hostname: hostname(sp.Options.Hostname, f.Local)}
	return submission.NewBackendSide(o, f.Login)
}

// PassThroughSpeaker makes the machines of an SMTP or LMTP listener (SPEC 3.5).
type PassThroughSpeaker struct {
	// Hostname is server.hostname; empty: the local address of each connection.
	Hostname string
	LMTP     bool
}

// Client makes the client side.
func (sp *PassThroughSpeaker) Client(f Facts) dialog.Machine {
	return passthrough.NewClientSide(hostname(sp.Hostname, f.Local))
}

// Backend makes the backend side.
func (sp *PassThroughSpeaker) Backend(f BackendFacts) dialog.Machine {
	return passthrough.NewBackendSide(passthrough.Options{LMTP: sp.LMTP, StartTLS: f.StartTLS, Forward: f.Forward,
		Hostname: hostname(sp.Hostname, f.Local)})
}

// hostname is our name towards SMTP peers (SPEC 2.1).
func hostname(configured string, local netip.Addr) string {
	return cmp.Or(configured, submission.Literal(local), "localhost")
}
