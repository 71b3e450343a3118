package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Without a terminal one frame is printed, with rates.
func TestTopOnce(t *testing.T) {
	d := newDesk(t)
	d.fake.down = true
	code, out, errOut := d.ctl("top --interval 20ms")
	if code != 0 || errOut != "" || strings.ContainsAny(out, "\x1b\r") {
		t.Fatalf("exit code %d\n%q%s", code, out, errOut)
	}
	shown := regexp.MustCompile(" +").ReplaceAllString(out, " ")
	for _, want := range []string{
		`^mailsplice 127\.0\.0\.1:\d+ serving up 1d2h \d\d:\d\d:\d\d\n`,
		`\nsessions 1234 before login 5 logins in progress 2\n`,
		`\nlogins [1-9]\d*\.\d/s accepted [1-9]\d*\.\d/s refused [1-9]\d*\.\d/s failed connections turned away 0\.0/s\n`,
		`\ncache 98\.0 % hits 12 entries store errors 0\.0/s\n`,
		`\ntraffic [\d.]+ [kM]?B/s in [\d.]+ [MG]B/s out\n`,
		`\nDESTINATION STATE SESSIONS IMAP POP3 LOGINS/S REFUSED/S FAILED/S\n`,
		`\nnew DOWN for 12s 34 34 0 0\.0 0\.0 [1-9]\d*\.\d\nlegacy up, 2 failures 1200 1100 100 [1-9]\d*\.\d 0\.0 0\.0\n`,
	} {
		if !regexp.MustCompile(want).MatchString(shown) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
}

// Several proxies are summed up; one that is gone is named and makes the exit code 1.
func TestTopSeveral(t *testing.T) {
	d := newDesk(t)
	at, gone := d.fake.addr().String(), closedAddr(t)
	code, out, errOut := d.ctl("top --once --interval 5ms --admin " + at + "," + at + "," + gone)
	for _, want := range []string{"2 proxies", "sessions  2468", "legacy", "FAILED  proxy " + gone + ": connection refused"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if code != exitFailed || !strings.Contains(errOut, "1 of 3 proxies failed") {
		t.Errorf("exit code %d\n%s", code, errOut)
	}
	if code, out, _ = d.ctl("top --once --interval 5ms --admin " + gone); code != exitFailed || out != "" {
		t.Errorf("none answers: exit code %d\n%s", code, out)
	}
}

// A proxy that lacks a call is shown without it.
func TestTopLacking(t *testing.T) {
	for _, c := range []struct {
		call   string
		status int
		code   int
		says   string
	}{
		{"GET /destinations", 501, 0, "legacy       not known  1200"},
		{"GET /metrics", 404, 0, "legacy       up, 2 failures  0 "},
		{"GET /destinations", 500, 1, "500: none"},
		{"GET /stats", 501, 1, "501: none"},
	} {
		d := newDesk(t)
		d.fake.answers(c.call, c.status, `{"error":"none"}`)
		code, out, errOut := d.ctl("top --once --interval 5ms")
		if code != c.code || !strings.Contains(out+errOut, c.says) || strings.Contains(errOut, "1 of 1") {
			t.Errorf("%s %d: exit code %d, want %d, and %q in\n%s%s", c.call, c.status, code, c.code, c.says, out, errOut)
		}
	}
}

func TestFrameRates(t *testing.T) {
	at := time.Unix(1000, 0)
	look := func(after time.Duration, accepted float64) *sample {
		return &sample{at: at.Add(after), metrics: figures{logins: map[place]results{{"legacy", "imap"}: {accepted: accepted}}}}
	}
	for _, c := range []struct {
		name        string
		now, before *sample
		want        float64
	}{
		{"first look", look(0, 50), nil, 0},
		{"two seconds", look(2*time.Second, 50), look(0, 10), 20},
		{"started anew", look(2*time.Second, 8), look(0, 1000), 4},
		{"no time has passed", look(0, 8), look(0, 1), 0},
	} {
		f := newFrame(at)
		f.add("x", c.now, c.before)
		if f.logins.accepted != c.want || c.before != nil && f.destinations["legacy"].logins.accepted != c.want {
			t.Errorf("%s: got %v, want %v", c.name, f.logins.accepted, c.want)
		}
	}
}

func TestParseSeries(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{`a 1`, `a map[] 1`},
		{`a_total{b="c"} 2.5`, `a_total map[b:c] 2.5`},
		{`a{b="c",d="e f"} 3 1700000000`, `a map[b:c d:e f] 3`},
		{`a{b="x\"y\\z\n"} 4`, "a map[b:x\"y\\z\n] 4"},
		{`a{} 5`, `a map[] 5`},
		{`a{b="}"} 1e3`, `a map[b:}] 1000`},
		{`# TYPE a counter`, ``},
		{``, ``},
		{`a`, ``},
		{`a{b="c 1`, ``},
		{`a{b 1`, ``},
		{`a{b="c"} x`, ``},
		{`{b="c"} 1`, ``},
	} {
		name, labels, value, ok := parseSeries(c.line)
		got := ""
		if ok {
			got = fmt.Sprint(name, " ", labels, " ", value)
		}
		if got != c.want {
			t.Errorf("%s: got %q, want %q", c.line, got, c.want)
		}
	}
}

func TestPaint(t *testing.T) {
	lines := []string{"headline that is long", "new  DOWN for 1s", "FAILED  x", "ök", "last"}
	want := home + inverse + "headline" + plain + endOfLine + red + "new  DOW" + plain + endOfLine
	if got := paint(lines[:2], 24, 8); got != strings.Replace(want, red+"new  DOW"+plain, "new  DOW", 1)+clearRest {
		t.Errorf("cut before the mark: got %q", got)
	}
	if got := paint(lines, 5, 80); got != home+inverse+lines[0]+plain+endOfLine+red+lines[1]+plain+endOfLine+red+lines[2]+plain+endOfLine+"ök"+endOfLine+clearRest {
		t.Errorf("four rows of five: got %q", got)
	}
	if got := paint(lines, 1, 80); strings.Count(got, endOfLine) != 1 {
		t.Errorf("one row: got %q", got)
	}
}

// tty is a pseudo-terminal: what the program sees, and the end that a person sits at.
func tty(t *testing.T) (program, person *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Skip("no pseudo-terminals here: ", err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		err = unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 100})
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(filepath.Join("/dev/pts", fmt.Sprint(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return program, person
}

// On a terminal frames are drawn until a key ends it, and the terminal is as it was.
func TestTopTerminal(t *testing.T) {
	for _, key := range []string{"q", "\x03", "xQ"} {
		d := newDesk(t)
		program, person := tty(t)
		before, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		root, done := newRoot(), make(chan int)
		root.SetIn(program)
		root.SetOut(program)
		go func() { done <- execute(root, []string{"ctl", "-c", d.path("conf"), "top", "--interval", "5ms"}) }() // ends by the key
		screen := watchScreen(person)
		screen.await(t, home+inverse+"mailsplice ")
		screen.await(t, clearRest+home) // a second frame
		if now, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS); err != nil || now.Lflag&(unix.ICANON|unix.ECHO) != 0 {
			t.Errorf("%q: keys are not taken one by one: %v, %v", key, now, err)
		}
		if _, err := io.WriteString(person, key); err != nil {
			t.Fatal(err)
		}
		screen.await(t, leaveScreen)
		if code := <-done; code != 0 {
			t.Errorf("%q: exit code %d, want 0", key, code)
		}
		if after, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS); err != nil || *after != *before {
			t.Errorf("%q: the terminal was not restored: got %+v, want %+v, %v", key, after, before, err)
		}
		program.Close()
		person.Close()
		<-screen.ended
	}
}

// screen is what has been drawn and not been awaited yet.
type screen struct {
	text  chan string
	seen  string
	ended chan struct{}
}

func watchScreen(person *os.File) *screen {
	s := &screen{text: make(chan string, 1024), ended: make(chan struct{})}
	go s.read(person) // until the terminal is closed
	return s
}

func (s *screen) read(person *os.File) {
	defer close(s.ended)
	buf := make([]byte, 4096)
	for {
		n, err := person.Read(buf)
		if err != nil {
			return
		}
		select {
		case s.text <- string(buf[:n]):
		default: // nobody waits any more
		}
	}
}

func (s *screen) await(t *testing.T, want string) {
	t.Helper()
	late := time.After(patience)
	for !strings.Contains(s.seen, want) {
		select {
		case more := <-s.text:
			s.seen += more
		case <-late:
			t.Fatalf("%q was not drawn; got %q", want, s.seen)
		}
	}
	_, s.seen, _ = strings.Cut(s.seen, want)
}

func TestCompletion(t *testing.T) {
	d := newDesk(t)
	t.Setenv("MAILSPLICE_CONFIG", d.path("conf"))
	for _, c := range []struct{ line, want string }{
		{"ctl st", "status"},
		{"ctl map alice ", "legacy new"},
		{"ctl map ", ""},
		{"ctl destinations reset ", "legacy new"},
		{"ctl kick --destination ", "legacy new"},
		{"ctl -c " + d.path("gone") + " sessions --destination ", ""},
	} {
		words := strings.Split(c.line, " ")
		code, out, _ := d.run(append([]string{"__complete"}, words...)...)
		var got []string
		for line := range strings.Lines(out) {
			word, _, _ := strings.Cut(strings.TrimSpace(line), "\t")
			if !strings.HasPrefix(word, ":") {
				got = append(got, word)
			}
		}
		if code != 0 || strings.Join(got, " ") != c.want {
			t.Errorf("%s: got %q, want %q (exit code %d)", c.line, got, c.want, code)
		}
	}
	if code, out, _ := d.run("completion", "bash"); code != 0 || !strings.Contains(out, "bash completion") {
		t.Errorf("bash: exit code %d, %d bytes", code, len(out))
	}
}
