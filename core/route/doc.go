// Package route finds the destination of an account: it cuts the master user off, normalises, asks the mapping store
// and remembers the answer (SPEC 4 points 3 to 5, 4.2).
//
// A Router is asked twice for a login. ResolveCached answers from memory without blocking, so an event loop may call
// it; Resolve asks the store on a miss and belongs to a goroutine.
//
//	a, err := router.Account(login.Identifier)
//	registry.enter(a.Registry)                     // before the look-up, so that an invalidation finds the login
//	res, ok := router.ResolveCached(a.Lookup)
//	if !ok { res, err = router.Resolve(ctx, a.Lookup) }
//
// Three rules of SPEC 4.2 shape the code. A miss asks the store once, however many logins wait for it (flight). Stale
// beats wrong: an expired entry stays in the cache until it is evicted for space, and serves again while the store
// fails. An invalidation wins over every look-up that began before it: the flight under way is disowned under the same
// lock under which flights settle, its waiters fly again, and what it brings home is thrown away.
//
// Account names appear neither in the package's log lines nor in its errors.
package route
