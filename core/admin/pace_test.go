package admin

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestPacedKick(t *testing.T) {
	tests := []struct {
		rate, size int
		after      time.Duration
		want       int
	}{
		{10, 25, 0, 1},
		{10, 25, 950 * time.Millisecond, 10},
		{10, 25, 2350 * time.Millisecond, 24},
		{10, 25, 2450 * time.Millisecond, 25},
		{10, 25, time.Hour, 25},
		{1, 3, 850 * time.Millisecond, 0},
		{1, 3, 950 * time.Millisecond, 1},
		{1, 3, 1950 * time.Millisecond, 2},
		{3, 100, 9950 * time.Millisecond, 30},
		{1000, 5000, 0, 100},
		{1000, 5000, 950 * time.Millisecond, 1000},
		{maxRate, 5000, 0, 5000},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBench(t)
				b.sessions.size = tt.size
				wantAnswer(t, b.ask("POST", fmt.Sprintf("/connections/kick?destination=old&rate=%d", tt.rate)), 200, fmt.Sprintf(`{"kicked":%d}`, tt.size))
				<-time.After(tt.after)
				synctest.Wait()
				if got := b.sessions.told(); got != tt.want {
					t.Errorf("after %v: got %d ended, want %d", tt.after, got, tt.want)
				}
			})
		})
	}
}

// slow starts a kick that takes a long time.
func (b *bench) slow(what string) (status int) {
	b.sessions.size = 100
	return b.ask("POST", "/connections/kick?rate=1&"+what).Code
}

func TestPacedKicksAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		for i := range maxPaced {
			if got := b.slow(fmt.Sprintf("identifier=a%d", i)); got != 200 {
				t.Fatalf("number %d: got %d, want 200", i, got)
			}
		}
		if got := b.slow("identifier=b"); got != 503 {
			t.Errorf("one more: got %d, want 503", got)
		}
		if got := b.slow("identifier=a7"); got != 200 {
			t.Errorf("one again: got %d, want 200", got)
		}
		if got := b.ask("POST", "/connections/kick?identifier=b").Code; got != 200 {
			t.Errorf("one without a rate: got %d, want 200", got)
		}
		<-time.After(101 * time.Second)
		synctest.Wait()
		if got := b.slow("identifier=b"); got != 200 {
			t.Errorf("after they have ended: got %d, want 200", got)
		}
	})
}

func TestPacedKickIsReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.slow("destination=old")
		<-time.After(9950 * time.Millisecond) // ten are told
		b.sessions.size = 90
		b.ask("POST", "/connections/kick?rate=900&destination=old")
		<-time.After(time.Minute)
		synctest.Wait()
		if got := b.sessions.told(); got != 100 {
			t.Errorf("got %d ended, want 100: both went on", got)
		}
		if got := strings.Count(b.log.String(), `msg="paced kick given up" destination=old count=90`); got != 1 {
			t.Errorf("got %d lines about the one that was replaced, want 1: %s", got, b.log)
		}
	})
}

func TestPacedKickOfNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.sessions.size = -1
		wantAnswer(t, b.ask("POST", "/connections/kick?destination=old&rate=5"), 200, `{"kicked":0}`)
	})
}

func TestPacedKickEndsWithTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.slow("destination=old")
		if err := b.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := len(b.pacer.paces); got != 0 { // close has waited for the goroutine, or the bubble would not end
			t.Errorf("got %d under way, want none", got)
		}
		if got := b.slow("destination=new"); got != 503 {
			t.Errorf("another one: got %d, want 503", got)
		}
	})
}

// wild crashes when it is told to end sessions.
type wild struct{ Selection }

func (wild) Len() int { return 1 }

type wildSessions struct{ Sessions }

func (wildSessions) Select(Kick) Selection { return wild{} }

func TestPacedKickMayCrashAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		b.pacer.sessions = wildSessions{}
		b.slow("destination=old")
		synctest.Wait()
		if !strings.Contains(b.log.String(), "paced kick panicked") || len(b.pacer.paces) != 0 {
			t.Errorf("got %v under way, log %s", b.pacer.paces, b.log)
		}
	})
}
