package session

import (
	"mailsplice/protocols/dialog"
	"mailsplice/protocols/imap"
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
func (sp *IMAPSpeaker) Backend(d *Destination, forward *dialog.Forwarding, l *dialog.Login) dialog.Machine {
	o := imap.BackendOptions{StartTLS: d.Legs[IMAP].Mode == StartTLS, Forward: forward, HideRefusals: d.HideAuthErrors}
	return imap.NewBackendSide(o, l)
}
