// Package admin is the HTTPS API for operators (SPEC 8): HTTP/1.1 and 2, one bearer token, JSON.
//
// Every call passes the same gates in the same order, so that nothing is learnt without the token:
//
//	lockout (429) ─▶ token (401) ─▶ path (404) ─▶ method (405) ─▶ read-only (501) ─▶ parameters (400) ─▶ call
//
// /healthz alone stands outside. The calls are rows of one table in calls.go; a path of SPEC 8 that has no row yet is an
// unknown path like any other. What the calls need from the rest of the process they ask for through the interfaces
// declared here.
//
// SPEC 8 is silent on some points. Here a parameter that a call does not know, or that comes twice, is refused with 400:
// a mistyped `kick=true` must not pass for a call without it. HEAD is answered wherever GET is. The lockout counts an
// IPv6 client by its /64, as SPEC 2.1 counts connections. A locked-out address gets 429 with the right token too,
// otherwise guessing could go on through the lock. Requests that net/http itself refuses as malformed get its plain
// text, since no handler sees them.
package admin
