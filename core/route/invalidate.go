package route

// hook is one subscriber to invalidations.
type hook struct {
	one func(account string)
	all func()
}

// OnInvalidate has one called with Account.Registry of every invalidated identifier, and all when everything is
// invalidated. The cache entry is gone by then, so that a look-up made by the function, or after it, sees the store; and
// the Invalidate, Put, Delete or Reload that caused it has not yet returned. The functions must not block, and may call
// the Router. Not to be called concurrently with itself.
func (r *Router) OnInvalidate(one func(account string), all func()) {
	var hooks []hook
	if old := r.hooks.Load(); old != nil {
		hooks = append(hooks, *old...)
	}
	hooks = append(hooks, hook{one, all})
	r.hooks.Store(&hooks)
}

// Invalidate forgets what is known of an identifier (normalised, not cut), its other form under the default domain
// included. Look-ups under way begin anew.
func (r *Router) Invalidate(identifier string) {
	s := r.settings.Load()
	a := s.account(identifier)
	r.forget(s.forms(a.Lookup))
	if hooks := r.hooks.Load(); hooks != nil {
		for _, h := range *hooks {
			h.one(a.Registry)
		}
	}
}

func (r *Router) forget(accounts []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, account := range accounts {
		r.disown(account)
		r.cache.remove(account)
	}
}

// InvalidateAll forgets everything.
func (r *Router) InvalidateAll() {
	r.cache.clear() // only gives memory back; afterwards it would drop answers of the new epoch, too
	r.forgetAll()
	r.tellAll()
}

func (r *Router) tellAll() {
	if hooks := r.hooks.Load(); hooks != nil {
		for _, h := range *hooks {
			h.all()
		}
	}
}

func (r *Router) forgetAll() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.turn()
	r.forgotten = r.epoch.Load()
}

// doubt has every account looked up again, as InvalidateAll does. But nobody said that the old answers are wrong, so
// they are kept for the case that the store fails: a database that blinks just after it came back must not send migrated
// accounts to their old home (SPEC 4.2, SECURITY 30).
func (r *Router) doubt() {
	r.mu.Lock()
	r.turn()
	r.mu.Unlock()
	r.tellAll()
}

// turn begins a new epoch. The caller holds mu.
func (r *Router) turn() {
	r.epoch.Add(1)
	for account := range r.flights {
		r.disown(account)
	}
}

// changed is what a Notifier calls.
func (r *Router) changed(identifiers []string) {
	if identifiers == nil {
		r.doubt()
		return
	}
	for _, identifier := range identifiers {
		r.Invalidate(identifier)
	}
}

// lost is what a Watcher calls when its notices may not arrive any more.
func (r *Router) lost() { r.broken.Store(true) }

// back is what a Watcher calls when they arrive again. What they would have said meanwhile is not known.
func (r *Router) back() {
	r.doubt() // before entries get their full life again
	r.broken.Store(false)
}
