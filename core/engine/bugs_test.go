package engine

import (
	"fmt"
	"testing"
	"time"
)

// A bug that comes with every connection costs a line a second for each thing that was being done.
func TestBugStorm(t *testing.T) {
	b, start := bugs{kinds: map[string]*storm{}}, time.Unix(0, 0)
	got := ""
	for _, x := range []struct {
		doing string
		after time.Duration
	}{{"a", 0}, {"a", 0}, {"b", 0}, {"a", bugEvery - 1}, {"a", bugEvery}, {"a", bugEvery}, {"b", 3 * bugEvery}, {"a", 3 * bugEvery}} {
		got += fmt.Sprint(b.pass(x.doing, start.Add(x.after)), " ")
	}
	if want := "1 0 1 0 3 0 1 2 "; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
