// Package tlsx is TLS for both legs: crypto/tls does every handshake, and what carries bytes afterwards is plain data that
// a loop owns (DESIGN 3).
//
//	socket ──▶ ServerConfig.Handshake ──▶ Taken{Leg, Facts}          lane record: our own record layer
//	           ClientConfig.Handshake         └─ Conn, Reason        lane conn: CBC suites, or no takeover
//
// Towards clients: Certificates chooses the certificate (SPEC 2.2), TicketKeys owns the keys of session tickets, and
// ServerConfig holds the policy of a listener. Towards backends: ClientConfig holds the policy of a destination and
// protocol, and the sessions that were made under it. Certificate checks hold on resumption too (SECURITY 25).
//
// A handshake reads exactly one record at a time, so that nothing is read ahead: what follows the peer's Finished is
// still in the socket when the keys are taken over. Each handshake has its own key log, which lives in memory until the
// takeover and is wiped then. The CPU-bound sections of handshakes share Slots (DESIGN 2).
//
// A backend's session tickets arrive behind its Finished, between its greeting and its answers. Stream, which a login
// talks through until the verdict, hands them to crypto/tls and keeps everything else (DESIGN 3.6).
package tlsx
