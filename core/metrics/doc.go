// Package metrics holds the process's counters and writes them in Prometheus's text form (SPEC 10).
//
// Whoever counts asks a Set once for a handle (per listener, per protocol and destination) and keeps it; counting through
// the handle is one atomic addition, without a look-up or a label being formatted. Figures that somebody else already
// keeps are read by callback when the text is written.
//
// Labels come from closed sets: names out of the configuration, and the constants of this package. Never an identifier,
// an address or anything else that a peer chooses.
package metrics
