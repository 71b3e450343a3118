package ktls

import "testing"

func TestProbe(t *testing.T) {
	s := Probe()
	t.Log("can:", s)
	for _, m := range s.Missing() {
		t.Log("missing:", m)
	}
}
