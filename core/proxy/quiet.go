package proxy

const (
	// calmLogins or fewer since it was last asked are a quiet time.
	calmLogins = 15
	// stormLogins since memory was last given back are worth doing it again.
	stormLogins = 500
)

// quiet tells when memory that a storm of logins has used goes back to the kernel. A restart makes every client reconnect at
// once, and what the handshakes need for seconds would otherwise stay with the process for as long as its sessions are idle,
// which allocate nothing and so never bring the collector round. It costs two collections of a heap that holds no session.
type quiet struct {
	seen, released uint64 // logins ever: when it was last asked, and when memory was last given back
}

// due is asked every quietEvery.
func (q *quiet) due(logins uint64) bool {
	calm := logins-q.seen <= calmLogins
	q.seen = logins
	if !calm || logins-q.released < stormLogins {
		return false
	}
	q.released = logins
	return true
}
