// Package proxy is the composition root: it turns a valid configuration into engine, stores, router, sessions, listeners
// and admin API, and takes them down again in the right order.
//
// Nothing is served until everything could be made: listeners are bound last, and one that cannot bind undoes the rest.
package proxy
