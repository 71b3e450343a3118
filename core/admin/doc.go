// Package admin is the HTTPS API for operators (SPEC 8): HTTP/1.1 and 2, one bearer token, JSON.
//
// Every call passes the same gates in the same order, so that nothing is learnt without the token:
//
//	lockout (429) ─▶ token (401) ─▶ path (404) ─▶ method (405) ─▶ body (413) ─▶ what is lacking (501) ─▶ parameters (400) ─▶ call
//
// /healthz alone stands outside. The calls are rows of one table in table.go: gates, GET /openapi.json and tests read the
// same rows, and the shape of an answer is read off the struct that is answered. What the calls need from the rest of the
// process they ask for through the interfaces in outside.go; most may be absent, and the calls that need them are 501.
//
// SPEC 8 is silent on some points. Chosen here:
//
//   - A parameter that a call does not know, or that comes twice, is refused with 400: a mistyped `kick=true` must not pass
//     for a call without it. HEAD is answered wherever GET is.
//   - The lockout counts an IPv6 client by its /64, as SPEC 2.1 counts connections. A locked-out address gets 429 with the
//     right token too, otherwise guessing could go on through the lock.
//   - Requests that net/http itself refuses get its plain text, since no handler sees them: malformed ones with 400, and
//     with 431 those with more than 16 KiB of headers, a token of a mebibyte among them. They do not count for the lockout;
//     none of them can carry the right token.
//   - A bulk body has at most 64 MiB and 2,000,000 identifiers (413), one is worked on at a time, and four walks through the
//     source (503 with Retry-After). 400 lists every bad line, up to 1,000 and then how many more. `kick=true` ends the
//     sessions of every identifier in the body.
//   - An export sends as it reads. A store that fails after the first 64 KiB breaks the connection off, so that half an
//     export never looks whole. What no line can hold is left out and counted in a comment at the end.
//   - A delay above 300 s is clamped and the answer says so; a hold of more than a day is 400, since whoever asks for two
//     days plans on two days.
//   - A kick with a rate notes what matches, answers with the number and ends them in the background, ten portions a
//     second; see kickAbout. At most 16 are under way.
package admin
