package proxy

import "testing"

func TestBallastFitsTheLimit(t *testing.T) {
	for _, c := range []struct {
		name        string
		limit, want int64
	}{
		{"unknown", 0, maxBallast},
		{"large", 64 << 30, maxBallast},
		{"small", 32 << 20, 2 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := ballastBytes(c.limit); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
}
