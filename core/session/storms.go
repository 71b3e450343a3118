package session

import (
	"context"
	"log/slog"
	"time"

	"mailsplice/core/logx"
)

// stormEvery is how often a line may come that peers, or an outage, can cause with every login.
const stormEvery = time.Second

// storms holds back lines that are about no single destination; those that are have theirs in home.
type storms struct{ bugs, notJoined, notFiled, loops *logx.Throttle }

func newStorms() storms {
	return storms{logx.Every(stormEvery), logx.Every(stormEvery), logx.Every(stormEvery), logx.Every(stormEvery)}
}

// say logs a line unless there was one of its kind just now. `count` tells how many it stands for.
func (s *Sessions) say(kind *logx.Throttle, level slog.Level, message string, args ...any) {
	if kind.Allow(time.Now()) {
		s.o.Log.Log(context.Background(), level, message, append(args, logx.Count, 1+kind.Suppressed())...)
	}
}
