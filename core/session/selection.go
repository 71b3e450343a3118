package session

// Selection is the sessions and logins in progress that matched at one moment, for a kick in portions. It keeps 32 bytes
// for each of them and nothing of the sessions themselves: one that has ended meanwhile is told nothing, its place may
// have been taken by another. One goroutine uses it at a time.
type Selection struct {
	sessions *Sessions
	left     []place
}

// Select notes what Kick would end now, and ends nothing. Sessions that begin later are not part of it.
func (s *Sessions) Select(o KickOptions) *Selection { return &Selection{s, s.choose(o)} }

// Len is how many have not been told to end yet.
func (x *Selection) Len() int { return len(x.left) }

// End tells the next n of them to end, or all when they are fewer.
func (x *Selection) End(n int) {
	n = min(n, len(x.left))
	x.sessions.kick(x.left[:n])
	x.left = x.left[n:]
}

// choose lists what o selects.
func (s *Sessions) choose(o KickOptions) []place {
	dest := -1
	if o.Destination != "" {
		d := s.homeOf(o.Destination)
		if d == nil {
			return nil
		}
		dest = int(d.index)
	}
	keep := func(p place) bool {
		return (dest < 0 || int(p.dest) == dest) && !(o.SpareMaster && p.master)
	}
	if o.Account == "" {
		if dest < 0 {
			return nil
		}
		return s.registry.each(keep)
	}
	s.registry.bump(o.Account)
	list := s.registry.sessionsOf(o.Account, nil)
	n := 0
	for _, p := range list {
		if keep(p) {
			list[n] = p
			n++
		}
	}
	return list[:n]
}
