// Package proxy is the composition root: it turns a valid configuration into engine, stores, router, sessions, listeners
// and admin API, and takes them down again in the right order.
//
// Nothing is served until everything could be made: listeners are bound last, and one that cannot bind undoes the rest.
//
// Probe, for `check --probe`, makes of a configuration only what a login needs on its way to a backend, and goes that way
// for every leg, up to where credentials would be sent.
package proxy
