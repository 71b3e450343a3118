package admin

import "math"

// Stats is the figures of GET /stats.
type Stats struct {
	CacheHits      uint64
	CacheMisses    uint64
	CacheEvictions uint64
	CacheEntries   int
	StoreErrors    uint64
	Connections    int // joined sessions
	Preauth        int // connections not authenticated yet
	Logins         int // logins between their command and the verdict
	LogDropped     uint64
}

type statsShown struct {
	CacheHits          uint64  `json:"cache_hits"`
	CacheMisses        uint64  `json:"cache_misses"`
	HitRatePct         float64 `json:"hit_rate_pct"`
	CacheEntries       int     `json:"cache_entries"`
	CacheEvictions     uint64  `json:"cache_evictions"`
	StoreErrors        uint64  `json:"store_errors"`
	ActiveConnections  int     `json:"active_connections"`
	PreauthConnections int     `json:"preauth_connections"`
	LoginsInProgress   int     `json:"logins_in_progress"`
	LogLinesDropped    uint64  `json:"log_lines_dropped"`
	UptimeSeconds      int64   `json:"uptime_s"`
	Draining           bool    `json:"draining"`
}

// HitRatePct is hits in a hundred look-ups, to two decimals; 0 before the first.
func (s Stats) HitRatePct() float64 {
	all := float64(s.CacheHits) + float64(s.CacheMisses)
	if all == 0 {
		return 0
	}
	return math.Round(float64(s.CacheHits)/all*10000) / 100
}

func (s *Server) stats(*request) (any, error) {
	n := s.o.Stats()
	return statsShown{
		CacheHits:          n.CacheHits,
		CacheMisses:        n.CacheMisses,
		HitRatePct:         n.HitRatePct(),
		CacheEntries:       n.CacheEntries,
		CacheEvictions:     n.CacheEvictions,
		StoreErrors:        n.StoreErrors,
		ActiveConnections:  n.Connections,
		PreauthConnections: n.Preauth,
		LoginsInProgress:   n.Logins,
		LogLinesDropped:    n.LogDropped,
		UptimeSeconds:      int64(s.o.Now().Sub(s.started).Seconds()),
		Draining:           s.o.Draining(),
	}, nil
}
