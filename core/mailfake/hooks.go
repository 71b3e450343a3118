package mailfake

import "strings"

// Moment is a point in a session at which a hook may act.
type Moment uint8

// The moments.
const (
	OnAccept      Moment = iota + 1 // the connection is there; no PROXY header read yet
	OnGreeting                      // before the greeting
	OnCommand                       // a command was read, nothing is done about it yet; see ForVerb
	OnStartTLS                      // before the go-ahead; Answered: the hook wrote it itself, the handshake follows
	OnCredentials                   // credentials are complete, nobody has decided yet
	AfterLogin                      // the accepting answer was written
	OnData                          // before each block of XSOURCE, XSINK, XECHO or a DATA message is moved
	OnTLS                           // the handshake of STARTTLS is done; Answered: no capabilities by themselves (ManageSieve)
	OnMessage                       // a DATA message has come whole, nothing is said about it yet
)

// Move is what a session does after a hook.
type Move uint8

// The moves.
const (
	Continue Move = iota // as if there were no hook
	Answered             // the hook has written the answer itself: leave the usual one out
	Finished             // end the session: what was written is delivered, then FIN
	Aborted              // end the session with a RST
)

// Hook acts at a Moment, on the session's goroutine.
type Hook func(*Session) Move

// Hooks is what a backend does out of the ordinary.
type Hooks map[Moment]Hook

// Chain runs hooks in order until one does not Continue.
func Chain(hooks ...Hook) Hook {
	return func(s *Session) Move {
		for _, h := range hooks {
			if m := h(s); m != Continue {
				return m
			}
		}
		return Continue
	}
}

// ForVerb limits a hook to commands with that verb, such as "AUTHENTICATE".
func ForVerb(verb string, h Hook) Hook {
	return func(s *Session) Move {
		if !strings.EqualFold(s.Verb(), verb) {
			return Continue
		}
		return h(s)
	}
}

// Times limits a hook to the first n times it is reached, over all sessions of a backend.
func Times(n int, h Hook) Hook {
	left := make(chan struct{}, max(n, 0))
	for range n {
		left <- struct{}{}
	}
	return func(s *Session) Move {
		select {
		case <-left:
			return h(s)
		default:
			return Continue
		}
	}
}

// WaitFor holds the session until c is closed, or ends it when the backend is closed first.
func WaitFor(c <-chan struct{}) Hook {
	return func(s *Session) Move {
		select {
		case <-c:
			return Continue
		case <-s.b.done:
			return Aborted
		}
	}
}

// Hang holds the session until the backend is closed: a server that accepts and says no more.
func Hang() Hook { return WaitFor(nil) }

// Say writes text in place of the usual answer, byte for byte; "{tag}" becomes the tag of the present command.
func Say(text string) Hook {
	return func(s *Session) Move {
		s.Write(strings.ReplaceAll(text, "{tag}", s.Tag()))
		return Answered
	}
}

// SayFirst writes text and goes on as usual.
func SayFirst(text string) Hook {
	return func(s *Session) Move {
		Say(text)(s)
		return Continue
	}
}

// SayAndEnd writes text and ends the session with a FIN.
func SayAndEnd(text string) Hook {
	return func(s *Session) Move {
		Say(text)(s)
		return Finished
	}
}

// Inject, for OnStartTLS: the usual go-ahead with text behind it in one write, then the handshake; what a man in the
// middle does (SECURITY 6).
func Inject(text string) Hook {
	return func(s *Session) Move { return Say(s.b.speech.goAhead + text)(s) }
}

// Finish ends the session with a FIN.
func Finish() Hook { return func(*Session) Move { return Finished } }

// Reset ends the session with a RST.
func Reset() Hook { return func(*Session) Move { return Aborted } }

// Dribble makes the session write every byte by itself from here on.
func Dribble() Hook {
	return func(s *Session) Move {
		s.wmu.Lock()
		s.dribble = true
		s.wmu.Unlock()
		return Continue
	}
}

// Signal closes c the first time it is reached, then goes on: a test learns that the session has come this far.
func Signal(c chan<- struct{}) Hook {
	return Times(1, func(*Session) Move {
		close(c)
		return Continue
	})
}
