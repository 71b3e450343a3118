// Package channel keeps a store's channel of notices open (SPEC 4.2): it runs whatever listens, begins again with growing
// pauses when that fails, and says whether notices arrive.
//
//	   ┌───────────── Listen failed ─────────────┐
//	   ▼                                         │
//	broken ── up called in Listen ──▶ working ───┤
//	   │                                         │
//	   └─── Listen says ErrNone ───▶ none ───────┘   looked at again once a minute
//
// Lost is called on the way into broken, Back on the way out of it. A channel begins broken. In none there is nothing to
// miss: the server cannot send notices, and answers live as long as the configuration says.
package channel

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"
)

// ErrNone is what Listen returns, wrapped, when the server cannot send notices at all.
var ErrNone = errors.New("no notices of changes to be had")

const (
	// firstPause and longestPause bound the time between two attempts. A restarted server is found again at once, and a
	// thousand proxies do not keep one from starting.
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	// noneEvery is how often a server without notices is looked at again: it may have been upgraded.
	noneEvery = time.Minute
	// stillEvery is how often a channel that stays broken is logged.
	stillEvery = time.Minute
)

// Options say what a Channel runs. Everything but Logger is required.
type Options struct {
	// Source names the kind of store in the log.
	Source string
	// Listen opens the channel, calls up once no notice will be missed any more, and passes notices on until it breaks or
	// ctx ends, when it returns soon. The error must not name an identifier.
	Listen func(ctx context.Context, up func()) error
	// Lost and Back are called in turns: Lost first, by Open itself, and then both from one goroutine.
	Lost, Back func()
	Logger     *slog.Logger // nil: nobody
}

// Channel is a channel that is kept open. Its methods are safe for concurrent use.
type Channel struct {
	cancel context.CancelFunc
	done   chan struct{}
}

// Open starts keeping the channel open; it does not wait for it. Close gives back what it holds.
func Open(o Options) *Channel {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &Channel{cancel: cancel, done: make(chan struct{})}
	k := &keeper{o: o, pause: firstPause}
	k.becomeBroken()
	go k.run(ctx, c.done) // until Close
	return c
}

// Close ends Listen and waits for it. Lost and Back are not called afterwards.
func (c *Channel) Close() {
	c.cancel()
	<-c.done
}

// state of the channel, as drawn above.
type state uint8

const (
	unknown state = iota // before the first attempt
	broken
	working
	none
)

// keeper is owned by its one goroutine.
type keeper struct {
	o      Options
	state  state
	since  time.Time // when the channel began to work
	pause  time.Duration
	logged time.Time // the last line about a broken channel
}

func (k *keeper) run(ctx context.Context, done chan<- struct{}) {
	defer close(done)
	for {
		err := k.o.Listen(ctx, k.up)
		if ctx.Err() != nil {
			return
		}
		timer := time.NewTimer(k.failed(err))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// up is called by Listen.
func (k *keeper) up() {
	if k.state == none {
		k.becomeBroken() // what was answered up to now was not watched
	}
	if k.state != broken {
		return
	}
	k.state, k.since = working, time.Now()
	k.o.Back()
	k.o.Logger.Info("mapping store sends notices of changes", slog.String("source", k.o.Source))
}

// failed judges how Listen ended and says how long to wait.
func (k *keeper) failed(err error) (pause time.Duration) {
	if errors.Is(err, ErrNone) {
		k.becomeNone(err)
		return noneEvery
	}
	if k.state == working && time.Since(k.since) > longestPause {
		k.pause = firstPause
	}
	if k.becomeBroken() || time.Since(k.logged) >= stillEvery {
		k.logged = time.Now()
		k.o.Logger.Warn("mapping store sends no notices of changes, cached answers live at most negative_ttl",
			slog.String("source", k.o.Source), slog.Any("err", err))
	}
	pause = k.pause/2 + rand.N(k.pause/2) // proxies that lost the same server do not come back in step
	k.pause = min(2*k.pause, longestPause)
	return pause
}

// becomeBroken tells whether the channel was not broken before.
func (k *keeper) becomeBroken() bool {
	if k.state == broken {
		return false
	}
	k.state = broken
	k.o.Lost()
	return true
}

func (k *keeper) becomeNone(err error) {
	if k.state == none {
		return
	}
	k.becomeBroken()
	k.state, k.pause = none, firstPause
	k.o.Back()
	k.o.Logger.Warn("mapping store cannot send notices of changes, cached answers live as long as configured",
		slog.String("source", k.o.Source), slog.Any("err", err))
}
