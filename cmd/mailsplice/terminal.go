package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// terminal is the screen and keyboard of a live view.
type terminal struct {
	in, out *os.File
}

// terminalOf is nil unless both are terminals.
func terminalOf(in io.Reader, out io.Writer) *terminal {
	i, ok := in.(*os.File)
	o, ok2 := out.(*os.File)
	if !ok || !ok2 {
		return nil
	}
	for _, f := range []*os.File{i, o} {
		if _, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS); err != nil {
			return nil
		}
	}
	return &terminal{i, o}
}

// What is written to the terminal (ECMA-48, xterm).
const (
	enterScreen = "\x1b[?1049h\x1b[?25l" // another screen, no cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	home        = "\x1b[H"
	endOfLine   = "\x1b[K\r\n"
	clearRest   = "\x1b[J"
	inverse     = "\x1b[7m"
	red         = "\x1b[1;31m"
	plain       = "\x1b[0m"
)

// take switches to the view's own screen. Keys come at once and unechoed; Ctrl-C is one of them, so that nothing but
// restore ends with the terminal changed.
func (t *terminal) take() (restore func(), err error) {
	fd := int(t.in.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return nil, fmt.Errorf("reading the terminal's settings: %w", err)
	}
	keys := *old
	keys.Lflag &^= unix.ICANON | unix.ECHO | unix.ISIG
	keys.Cc[unix.VMIN], keys.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &keys); err != nil {
		return nil, fmt.Errorf("changing the terminal's settings: %w", err)
	}
	restore = func() {
		_ = unix.IoctlSetTermios(fd, unix.TCSETSF, old) // a terminal that is gone needs none
		_, _ = io.WriteString(t.out, leaveScreen)
	}
	if _, err := io.WriteString(t.out, enterScreen); err != nil {
		restore()
		return nil, fmt.Errorf("drawing: %w", err)
	}
	return restore, nil
}

// keyPatience is how long a wait for a key goes before it looks whether the view has ended: in milliseconds.
const keyPatience = 200

// awaitQuit calls stop at q, Ctrl-C, Ctrl-D or the terminal's end, and returns when ctx has ended; done is closed then.
func (t *terminal) awaitQuit(ctx context.Context, stop context.CancelFunc, done chan<- struct{}) {
	defer close(done)
	defer stop()
	buf := make([]byte, 16)
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(t.in.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, keyPatience)
		if err == unix.EINTR || err == nil && n == 0 {
			continue
		}
		if err != nil {
			return
		}
		k, err := unix.Read(int(t.in.Fd()), buf)
		if err == unix.EINTR || err == unix.EAGAIN {
			continue
		}
		if err != nil || k == 0 || strings.ContainsAny(string(buf[:k]), "qQ\x03\x04") {
			return
		}
	}
}

// draw shows a frame, cut to the size of the screen.
func (t *terminal) draw(f *frame) error {
	rows, columns := 24, 80
	if ws, err := unix.IoctlGetWinsize(int(t.out.Fd()), unix.TIOCGWINSZ); err == nil && ws.Row > 0 && ws.Col > 0 {
		rows, columns = int(ws.Row), int(ws.Col)
	}
	_, err := io.WriteString(t.out, paint(f.lines(), rows, columns))
	return err
}

// paint is the text that puts lines on a screen. The last row stays empty, since a line end there would scroll.
func paint(lines []string, rows, columns int) string {
	var b strings.Builder
	b.WriteString(home)
	for i, l := range lines[:min(len(lines), max(rows-1, 1))] {
		runes := []rune(l)
		l = string(runes[:min(len(runes), columns)])
		switch {
		case i == 0:
			l = inverse + l + plain
		case strings.Contains(l, "  DOWN ") || strings.HasPrefix(l, "FAILED  "):
			l = red + l + plain
		}
		b.WriteString(l + endOfLine)
	}
	b.WriteString(clearRest)
	return b.String()
}
