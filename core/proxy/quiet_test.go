package proxy

import "testing"

func TestQuiet(t *testing.T) {
	var q quiet
	for i, c := range []struct {
		logins uint64
		want   bool
	}{
		{10, false},      // calm, and nothing to give back
		{5000, false},    // a storm
		{9000, false},    // still
		{9010, true},     // over
		{9020, false},    // once is enough
		{9500, false},    // busy
		{9515, true},     // a small storm is over
		{9516, false},    //
		{1 << 40, false}, // a storm
		{1 << 40, true},
	} {
		if got := q.due(c.logins); got != c.want {
			t.Errorf("time %d, %d logins: got %v, want %v", i, c.logins, got, c.want)
		}
	}
}
