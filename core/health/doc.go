// Package health decides whether logins are sent to a destination at all: one Breaker for each destination (SPEC 7).
//
// A login asks Allow before it dials and reports once, after its last retry:
//
//	pass, ok := breaker.Allow()
//	if !ok {
//		return unavailable // at once, without dialling
//	}
//	defer pass.Abandon() // nothing to say: canceled, interrupted, a panic
//	...
//	pass.Succeeded()               // the backend gave a verdict, be it a refusal
//	pass.Failed(client, HostLevel) // it gave none
//
// After Succeeded or Failed the deferred Abandon does nothing.
//
//	      failures ≥ threshold, and a host-level one or enough clients
//	up ──────────────────────────────────────────────────────────────▶ down
//	▲                                                                   │ cooldown is over: Allow lets one login pass
//	└──────────────── any verdict ◀──── probe ◀─────────────────────────┘
//	                                      └──── failure: a new cooldown
//
// Choices where SPEC 7 is silent:
//
//   - An IPv6 client counts as its /64: a machine picks the rest of its address itself, so one client could otherwise pass
//     for many and take a destination down alone.
//   - A verdict clears whoever got it, also while the destination is down and no matter when that login began: it is news.
//   - A failure of a login that began before the destination came up again, or before Reset, is not: it does not count.
//   - While a destination is down, failures of logins that began before do count, but only the probe's starts a new cooldown.
//   - An abandoned probe tells nothing. The next login may probe at once.
package health
