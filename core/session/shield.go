package session

import (
	"fmt"
	"log/slog"
	"runtime/debug"

	"mailsplice/core/engine"
	"mailsplice/core/logx"
)

// shielded runs f for one session where the engine cannot know whose it is: a panic costs that session only (SPEC 12).
func (b *lobby) shielded(t engine.Token, f func()) {
	defer func() {
		if cause := recover(); cause != nil {
			b.s.bug("serving a session", cause)
			b.Failed(t, cause)
		}
	}()
	f()
}

// bug reports a recovered panic.
func (s *Sessions) bug(doing string, cause any) {
	s.say(s.storms.bugs, slog.LevelError, "bug in session", logx.Phase, doing, logx.Err, fmt.Sprint(cause), logx.Stack, string(debug.Stack()))
}
