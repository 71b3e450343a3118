package mailfake

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"
)

func dialPOP3(t *testing.T, o Options) (*POP3Client, *Backend) {
	t.Helper()
	o.Protocol = POP3
	b := startWith(t, o)
	c := must[*POP3Client](t)(DialPOP3(b.Addr().String(), ClientOptions{}))
	t.Cleanup(c.Close)
	return c, b
}

func TestUserPass(t *testing.T) {
	c, b := dialPOP3(t, Options{Name: "legacy", Accounts: map[string]string{"alice": "  pass word "}})
	if c.Greeting != "+OK legacy ready." {
		t.Errorf("got banner %q", c.Greeting)
	}
	if r := must[Reply](t)(c.UserPass("alice", "pass word")); r.String() != words[POP3].refused {
		t.Errorf("blanks left out: got %q", r)
	}
	if r := must[Reply](t)(c.Command("PASS   pass word ")); r.OK() {
		t.Errorf("PASS without USER: got %q", r)
	}
	if r := must[Reply](t)(c.UserPass("alice", "  pass word ")); r.String() != words[POP3].accepted {
		t.Errorf("got %q", r)
	}
	if got := b.Logins()[0]; got.Account != "alice" || got.Method != "USER" || got.Form != "command" || got.Attempts != 2 {
		t.Errorf("got %+v, want alice by USER", got)
	}
	if got := must[string](t)(c.Landed()); got != "legacy" {
		t.Errorf("landed on %q", got)
	}
}

func TestPOP3CapabilitiesAreObeyed(t *testing.T) {
	c, b := dialPOP3(t, Options{Capabilities: "TOP\nSASL PLAIN"})
	for command, want := range map[string]string{
		"CAPA":      "[TOP SASL PLAIN]",
		"AUTH":      "[PLAIN]",
		"USER x":    "-ERR",
		"UTF8":      "-ERR",
		"APOP x y":  "-ERR",
		"STLS":      "-ERR",
		"STLS now":  "-ERR",
		"STAT":      "-ERR",
		"XCLIENT x": "-ERR",
		"noop":      "+OK",
	} {
		r := must[Reply](t)(c.Command(command))
		if got := fmt.Sprint(r.Untagged); got != want && r.Status != want {
			t.Errorf("%s was answered %q with %s, want %s", command, r, got, want)
		}
	}
	if b.Sessions()[0].UTF8 {
		t.Error("UTF8 was refused and recorded")
	}
	c, b = dialPOP3(t, Options{})
	must[Reply](t)(c.Must("UTF8"))
	if !b.Sessions()[0].UTF8 {
		t.Error("UTF8 was not recorded")
	}
	c, _ = dialPOP3(t, Options{NoCapabilities: true, Greeting: "+OK [XCLIENT] old one"})
	if r := must[Reply](t)(c.Command("CAPA")); r.OK() || c.Greeting != "+OK [XCLIENT] old one" {
		t.Errorf("got %q behind %q, want no CAPA", r, c.Greeting)
	}
}

func TestPOP3Maildrop(t *testing.T) {
	o := Options{Name: "legacy", MessageBytes: []int64{500, 900}}
	c, b := dialPOP3(t, o)
	ok(t, c.Login("alice", "x"))
	marker := len("From: legacy@example.org\r\nTo: you@example.org\r\nSubject: on legacy\r\nDate: Mon, 1 Jan 2024 00:00:00 +0000\r\n" +
		"Message-ID: <marker@legacy>\r\n\r\nYou are on legacy.\r\n")
	for _, tc := range []struct{ command, want string }{
		{"STAT", fmt.Sprintf("+OK 3 %d []", marker+1400)},
		{"LIST 2", "+OK 2 500 []"},
		{"LIST", fmt.Sprintf("+OK Messages [1 %d 2 500 3 900]", marker)},
		{"UIDL", "+OK Messages [1 m000001 2 m000002 3 m000003]"},
		{"UIDL 3", "+OK 3 m000003 []"},
		{"DELE 2", "+OK Marked []"},
		{"DELE 2", "-ERR No such message []"},
		{"RETR 2", "-ERR No such message []"},
		{"LIST", fmt.Sprintf("+OK Messages [1 %d 3 900]", marker)},
		{"STAT", fmt.Sprintf("+OK 2 %d []", marker+900)},
		{"RSET", "+OK Nothing is marked []"},
		{"LIST 2", "+OK 2 500 []"},
		{"LIST 4", "-ERR No such message []"},
		{"LIST 0", "-ERR No such message []"},
		{"RETR -1", "-ERR No such message []"},
		{"RETR 99999999999", "-ERR No such message []"},
		{"TOP 1", "-ERR No such message, or no count []"},
		{"USER bob", "-ERR Unknown command or wrong state []"},
		{"DELE 2", "+OK Marked []"},
	} {
		r := must[Reply](t)(c.Command(tc.command))
		if got := fmt.Sprintf("%s %s", r, r.Untagged); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.command, got, tc.want)
		}
	}
	r := must[Reply](t)(c.Must("TOP 1 1"))
	if last(r.Untagged) != "You are on legacy." || r.Find("Subject: on legacy") == "" {
		t.Errorf("got %q, want header and one line", r.Untagged)
	}
	ok(t, c.Quit())
	if end := must[End](t)(c.WaitEnd()); !end.Clean {
		t.Errorf("got %+v, want FIN", end)
	}
	for account, want := range map[string]string{"alice": "[1 m000001 2 m000003]", "bob": "[1 m000001 2 m000002 3 m000003]"} {
		c := must[*POP3Client](t)(DialPOP3(b.Addr().String(), ClientOptions{}))
		ok(t, c.Login(account, "x"))
		if got := fmt.Sprint(must[Reply](t)(c.Must("UIDL")).Untagged); got != want {
			t.Errorf("%s: got %s after the removal, want %s", account, got, want)
		}
		c.Close()
	}
}

// Messages are removed by QUIT alone (RFC 1939 6).
func TestPOP3KeepsMessagesWithoutQuit(t *testing.T) {
	c, b := dialPOP3(t, Options{})
	ok(t, c.Login("alice", "x"))
	must[Reply](t)(c.Must("DELE 1"))
	c.Close()
	await(t, b, "ended", func(c Counts) bool { return c.Open == 0 })
	c = must[*POP3Client](t)(DialPOP3(b.Addr().String(), ClientOptions{}))
	defer c.Close()
	ok(t, c.Login("alice", "x"))
	if r := must[Reply](t)(c.Must("LIST")); len(r.Untagged) != 1 {
		t.Errorf("got %q, want one message", r.Untagged)
	}
}

func TestPOP3RemovalsAreBounded(t *testing.T) {
	c, _ := dialPOP3(t, Options{StoreBytes: messageOverhead - 1})
	ok(t, c.Login("alice", "x"))
	must[Reply](t)(c.Must("DELE 1"))
	if err := c.Quit(); err == nil || !strings.Contains(err.Error(), "SYS/TEMP") {
		t.Errorf("got %v, want SYS/TEMP", err)
	}
}

func TestPOP3Pipeline(t *testing.T) {
	c, b := dialPOP3(t, Options{Name: "legacy"})
	all := must[[]Reply](t)(c.Pipeline("CAPA", "USER alice", "PASS x", "LIST", "NOOP", "QUIT"))
	if len(all) != 6 || !all[5].OK() || len(all[3].Untagged) != 1 || all[2].String() != words[POP3].accepted {
		t.Errorf("got %q", all)
	}
	if got := b.Sessions()[0].Verbs; fmt.Sprint(got) != "[CAPA USER PASS LIST NOOP QUIT]" {
		t.Errorf("got verbs %q", got)
	}
}

func TestRetrieveLarge(t *testing.T) {
	const size = 8 << 20
	c, _ := dialPOP3(t, Options{MessageBytes: []int64{size}})
	ok(t, c.Login("alice", "x"))
	sum, want := sha256.New(), sha256.New()
	_, _ = io.Copy(want, Generated(size))
	n := must[int64](t)(c.Retrieve(2, sum))
	if n != size || !bytes.Equal(sum.Sum(nil), want.Sum(nil)) {
		t.Errorf("got %d bytes with sum %s, want %d", n, hex.EncodeToString(sum.Sum(nil)), size)
	}
	if _, err := c.Retrieve(3, sum); err == nil {
		t.Error("a message that is not there: got no error")
	}
	ok(t, c.Quit())
}

// Answers that a client must not take.
func TestPOP3AnswersAreReadStrictly(t *testing.T) {
	for name, answer := range map[string]string{
		"OK":         "OK\r\n",
		"plus":       "+ \r\n",
		"lower case": "+ok\r\n",
		"bare LF":    "+OK x\n",
		"oversized":  "+OK " + strings.Repeat("x", 512-5) + "\r\n",
		"cut":        "+OK",
	} {
		c, _ := dialPOP3(t, Options{Hooks: Hooks{OnCommand: SayAndEnd(answer)}})
		if r, err := c.Command("NOOP"); err == nil {
			t.Errorf("%s: got %q, want an error", name, r)
		}
	}
	c, _ := dialPOP3(t, Options{Hooks: Hooks{OnCommand: ForVerb("AUTH", Say("+ !!\r\n"))}})
	if _, err := c.Authenticate("PLAIN", Prompted, "x"); err == nil {
		t.Error("a challenge that is no base64: got no error")
	}
	c, _ = dialPOP3(t, Options{Hooks: Hooks{OnCommand: Say("+OK " + strings.Repeat("x", 512-6) + "\r\n")}})
	must[Reply](t)(c.Command("NOOP"))
}
