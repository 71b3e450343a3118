package proxy

import (
	"testing"

	"mailsplice/core/mailfake"
)

// A kick at a rate ends those that were there when it was asked for, and nobody who comes later.
func TestPacedKick(t *testing.T) {
	r := newRig(t, stage{})
	var live []*mailfake.Client
	for _, name := range []string{"alice", "bob", "alice%admin"} {
		live = append(live, r.login(name))
	}
	r.kick("destination=legacy&rate=4", len(live))
	late := r.login("carol")
	if _, err := late.Idle(); err != nil {
		t.Fatal(err)
	}
	for _, c := range live {
		r.ended(c)
	}
	r.await("the others to be forgotten", func() bool { return r.proxy.sessions.Counts().Joined == 1 })
	if !alive(r, late, "carol") {
		t.Error("the session that began later was ended, too")
	}
	r.await("the others to be gone", func() bool { return r.proxy.sessions.Counts().Joined == 1 }) // clients see it first
	r.kick("destination=legacy", 1)
	r.ended(late)
}

// What one call of the API leaves in the cache, the others show and take away.
func TestCacheCalls(t *testing.T) {
	r := newRig(t, stage{mappings: "nina new\n"})
	cached := func() any { return r.must("GET", "/mappings?identifier=nina")["cached"] }
	for _, target := range []string{"/cache/invalidate?identifier=nina", "/cache/invalidate"} {
		r.login("nina")
		if cached() != true {
			t.Errorf("%s: before: not cached", target)
		}
		r.must("POST", target)
		if cached() != false {
			t.Errorf("%s: after: still cached", target)
		}
	}
	r.must("GET", "/metrics")
	r.must("GET", "/openapi.json")
}
