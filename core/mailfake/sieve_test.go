package mailfake

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
)

func dialSieve(t *testing.T, o Options) (*SieveClient, *Backend) {
	t.Helper()
	o.Protocol = ManageSieve
	b := startWith(t, o)
	c := must[*SieveClient](t)(DialSieve(b.Addr().String(), ClientOptions{}))
	t.Cleanup(c.Close)
	return c, b
}

func TestSieveCapabilities(t *testing.T) {
	c, _ := dialSieve(t, Options{Name: "legacy", Capabilities: "VERSION 1.0\nSIEVE fileinto vacation\nSASL PLAIN", TLS: serverTLS(t)})
	want := []string{`"IMPLEMENTATION" "legacy"`, `"VERSION" "1.0"`, `"SIEVE" "fileinto vacation"`, `"SASL" "PLAIN"`, `"STARTTLS"`}
	if fmt.Sprint(c.Offered) != fmt.Sprint(want) || c.Greeting != `OK "legacy ready."` {
		t.Errorf("got %q and %q, want %q", c.Offered, c.Greeting, want)
	}
	ok(t, c.StartTLS(insecure))
	if fmt.Sprint(c.Offered) != fmt.Sprint(want[:4]) {
		t.Errorf("inside TLS: got %q, want %q", c.Offered, want[:4])
	}
	ok(t, c.Login("a", "b"))
	ok(t, c.Capabilities())
	if got := fmt.Sprint(c.Offered); strings.Contains(got, "SASL") || !strings.Contains(got, `"MAXREDIRECTS" "4"`) {
		t.Errorf("after login: got %q", got)
	}
	c, _ = dialSieve(t, Options{NoCapabilities: true, Name: "bare"})
	if len(c.Offered) != 0 || c.Greeting != `OK "bare ready."` {
		t.Errorf("got %q and %q, want an OK alone", c.Offered, c.Greeting)
	}
}

func TestSieveInitialLiteral(t *testing.T) {
	long := strings.Repeat("t", 4000) // more than a quoted string may have
	c, b := dialSieve(t, Options{Name: "legacy", Accounts: map[string]string{"alice": long}})
	if r := must[Reply](t)(c.Authenticate("XOAUTH2", InitialResponse, XOAuth2Frame("alice", long))); r.OK() {
		t.Errorf("a quoted string of 4000 bytes: got %q", r)
	}
	if r := must[Reply](t)(c.Authenticate("XOAUTH2", InitialLiteral, XOAuth2Frame("alice", "short"))); r.String() != words[ManageSieve].refused ||
		fmt.Sprint(r.Untagged) != "["+Refuse().Challenge+"]" {
		t.Errorf("got %q after %q, want a refusal", r, r.Untagged)
	}
	r := must[Reply](t)(c.Authenticate("XOAUTH2", InitialLiteral, XOAuth2Frame("alice", long)))
	if r.String() != words[ManageSieve].accepted {
		t.Errorf("got %q", r)
	}
	if got := b.Logins()[0]; got.Form != "initial literal" || got.Attempts != 2 {
		t.Errorf("got %+v, want two attempts", got)
	}
}

func TestSieveNoop(t *testing.T) {
	c, _ := dialSieve(t, Options{Name: "legacy"})
	for command, want := range map[string]string{
		`NOOP`:                   `OK "on legacy"`,
		`noop "a \"b"`:           `OK (TAG "a \"b") "on legacy"`,
		"NOOP {3+}\r\nx y":       `OK (TAG "x y") "on legacy"`,
		`NOOP x`:                 `NO "NOOP takes one string"`,
		`NOOP "x" "y"`:           `NO "NOOP takes one string"`,
		`LISTSCRIPTS`:            `NO "Unknown command or wrong state"`,
		`XCLIENT ADDR=1.2.3.4`:   `NO "Unknown command"`,
		`AUTHENTICATE PLAIN`:     `NO "Mechanism not offered"`,
		`STARTTLS`:               `NO "No TLS here"`,
		`AUTHENTICATE "PLAIN" x`: `NO "Invalid initial response"`,
	} {
		if r := must[Reply](t)(c.Command(command)); r.String() != want {
			t.Errorf("%q: got %s, want %s", command, r, want)
		}
	}
}

func TestScripts(t *testing.T) {
	c, b := dialSieve(t, Options{Name: "legacy"})
	ok(t, c.Login("alice", "x"))
	must[Reply](t)(c.Must(`PUTSCRIPT "first" "keep; \"x\""`))
	must[Reply](t)(c.Must("PUTSCRIPT {6+}\r\nsecond {7+}\r\ndis\r\n;\""))
	if names, active, err := c.ListScripts(); err != nil || fmt.Sprint(names) != "[first second]" || active != "" {
		t.Errorf("got %q, %q active, %v", names, active, err)
	}
	ok(t, c.SetActive("second"))
	if _, active, err := c.ListScripts(); err != nil || active != "second" {
		t.Errorf("got %q active, %v", active, err)
	}
	for name, want := range map[string]string{"first": `keep; "x"`, "second": "dis\r\n;\""} {
		var got bytes.Buffer
		if n := must[int64](t)(c.GetScript(name, &got)); got.String() != want || n != int64(len(want)) {
			t.Errorf("%s: got %q, want %q", name, got.String(), want)
		}
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{c.DeleteScript("second"), "(ACTIVE)"},
		{c.DeleteScript("third"), "(NONEXISTENT)"},
		{c.SetActive("third"), "(NONEXISTENT)"},
		{func() error { _, err := c.GetScript("third", nil); return err }(), "(NONEXISTENT)"},
	} {
		var refused *Refusal
		if !errors.As(tc.err, &refused) || !strings.HasPrefix(refused.Reply.Text, tc.want) {
			t.Errorf("got %v, want %s", tc.err, tc.want)
		}
	}
	ok(t, c.SetActive(""))
	ok(t, c.DeleteScript("second"))
	if names, _, err := c.ListScripts(); err != nil || fmt.Sprint(names) != "[first]" {
		t.Errorf("got %q, %v", names, err)
	}
	other := must[*SieveClient](t)(DialSieve(b.Addr().String(), ClientOptions{}))
	defer other.Close()
	ok(t, other.Login("bob", "x"))
	if names, _, err := other.ListScripts(); err != nil || len(names) > 0 {
		t.Errorf("bob got %q, %v", names, err)
	}
	ok(t, c.Quit())
	if end := must[End](t)(c.WaitEnd()); !end.Clean {
		t.Errorf("got %+v, want FIN", end)
	}
}

func TestLargeScript(t *testing.T) {
	const size = 20 << 20
	c, _ := dialSieve(t, Options{})
	ok(t, c.Login("alice", "x"))
	if r := must[Reply](t)(c.PutScript("big", size, Pattern(1))); !r.OK() {
		t.Fatalf("got %q", r)
	}
	sum := newSum()
	if n := must[int64](t)(c.GetScript("big", sum)); n != size || sum.String() != PatternSum(size, 1) {
		t.Errorf("got %d other bytes, want %d", n, size)
	}
}

func TestScriptsAreBounded(t *testing.T) {
	c, _ := dialSieve(t, Options{StoreBytes: 1000})
	ok(t, c.Login("alice", "x"))
	for range 5 { // the room of what it replaces is given back
		must[Reply](t)(c.PutScript("a", 100, Pattern(1)))
	}
	ok(t, c.DeleteScript("a"))
	must[Reply](t)(c.Must(`PUTSCRIPT "b" "` + strings.Repeat("x", 700) + `"`))
	if r := must[Reply](t)(c.Command(`PUTSCRIPT "c" "x"`)); !strings.HasPrefix(r.Text, "(QUOTA)") {
		t.Errorf("quoted: got %q, want QUOTA", r)
	}
	ok(t, c.Send(`PUTSCRIPT "c" {1000+}`))
	r := must[Reply](t)(c.Answer())
	if end := must[End](t)(c.WaitEnd()); !strings.HasPrefix(r.Text, "(QUOTA)") || !end.Clean {
		t.Errorf("literal: got %q and %+v, want QUOTA and FIN", r, end)
	}
}

// The room of a script that never came whole is given back.
func TestBrokenScriptIsForgotten(t *testing.T) {
	c, b := dialSieve(t, Options{StoreBytes: 1000})
	ok(t, c.Login("alice", "x"))
	ok(t, c.SendRaw("PUTSCRIPT \"a\" {700+}\r\nin half"))
	ok(t, c.CloseWrite())
	must[End](t)(c.WaitEnd())
	c.Close()
	await(t, b, "ended", func(c Counts) bool { return c.Open == 0 })
	c = must[*SieveClient](t)(DialSieve(b.Addr().String(), ClientOptions{}))
	defer c.Close()
	ok(t, c.Login("alice", "x"))
	if r := must[Reply](t)(c.PutScript("b", 700, Pattern(1))); !r.OK() {
		t.Errorf("got %q", r)
	}
}

func TestSievePipeline(t *testing.T) {
	c, b := dialSieve(t, Options{Name: "legacy"})
	login := "AUTHENTICATE \"PLAIN\" " + Quote(frame64(PlainFrame("", "alice", "x")))
	all := must[[]Reply](t)(c.Pipeline(login, "PUTSCRIPT \"a\" {4+}\r\nkeep", "LISTSCRIPTS", "LOGOUT"))
	if len(all) != 4 || fmt.Sprint(all[2].Untagged) != `["a"]` || !all[3].OK() {
		t.Errorf("got %q", all)
	}
	if got := fmt.Sprint(b.Sessions()[0].Verbs); got != "[AUTHENTICATE PUTSCRIPT LISTSCRIPTS LOGOUT]" {
		t.Errorf("got verbs %s", got)
	}
}

func TestMalformedScripts(t *testing.T) {
	for input, want := range map[string]string{
		"PUTSCRIPT \"a\"\r\nNOOP\r\n":                `NO "PUTSCRIPT needs a name and a script"|OK "on legacy"`,
		"PUTSCRIPT \"\" \"x\"\r\nNOOP\r\n":           `NO "PUTSCRIPT needs a name and a script"|OK "on legacy"`,
		"PUTSCRIPT \"a\" \"x\" \"y\"\r\nNOOP\r\n":    `NO "PUTSCRIPT needs a name and a script"|OK "on legacy"`,
		"PUTSCRIPT \"a\" {1}\r\n":                    `NO "PUTSCRIPT needs a name and a script"`, // synchronising
		"PUTSCRIPT \"a\" x {1+}\r\n":                 `NO "PUTSCRIPT needs a name and a script"`,
		"PUTSCRIPT \"a\" {1+}\r\nxy\r\n":             `BYE "Malformed line"`,
		"GETSCRIPT {1}\r\na\r\n":                     `BYE "Malformed line"`,
		"GETSCRIPT {65537+}\r\n":                     `BYE "Too much input"`,
		"GETSCRIPT a\r\nSETACTIVE\r\n":               `NO "GETSCRIPT needs a name"|NO "SETACTIVE needs a name"`,
		"DELETESCRIPT\r\nPUTSCRIPT \"a\" {1+}\r\nx":  `NO "DELETESCRIPT needs a name"`,
		"AUTHENTICATE \"PLAIN\"\r\nSTARTTLS now\r\n": `NO "Unknown command or wrong state"|NO "Unknown command or wrong state"`,
	} {
		c, _ := dialSieve(t, Options{Name: "legacy"})
		ok(t, c.Login("alice", "x"))
		ok(t, c.SendRaw(input))
		ok(t, c.CloseWrite())
		if end := must[End](t)(c.WaitEnd()); strings.Join(end.Lines, "|") != want {
			t.Errorf("%q: got %q, want %q", input, end.Lines, want)
		}
	}
}

// Answers that a client must not take.
func TestSieveAnswersAreReadStrictly(t *testing.T) {
	for name, answer := range map[string]string{
		"atom":     "YES\r\n",
		"case":     "ok\r\n",
		"bare LF":  "OK\n",
		"cut":      "\"a\"\r\n",
		"literal":  "{2000000}\r\n",
		"in half":  "{10}\r\nabc",
		"tagged":   "a OK\r\n",
		"too long": "\"" + strings.Repeat("x", maxStrictLine) + "\"\r\n",
	} {
		c, _ := dialSieve(t, Options{Hooks: Hooks{OnCommand: SayAndEnd(answer)}})
		if r, err := c.Command("NOOP"); err == nil {
			t.Errorf("%s: got %q, want an error", name, r)
		}
	}
	c, _ := dialSieve(t, Options{Hooks: Hooks{OnCommand: Say("{5}\r\na\r\nbc \"x\"\r\nBYE\r\n")}})
	if r := must[Reply](t)(c.Command("NOOP")); r.Status != "BYE" || len(r.Untagged) != 1 {
		t.Errorf("got %q after %q, want BYE", r, r.Untagged)
	}
	for name, challenge := range map[string]string{"quoted": "\"eA==\"", "literal": "{4}\r\neA=="} {
		say := Say(challenge + "\r\nNO \"that was all\"\r\n")
		c, _ := dialSieve(t, Options{Hooks: Hooks{OnCommand: ForVerb("AUTHENTICATE", say)}})
		r := must[Reply](t)(c.Authenticate("PLAIN", Prompted, "frame"))
		if fmt.Sprint(r.Untagged) != "[x]" || r.Status != "NO" {
			t.Errorf("%s: got %q after %q, want NO after x", name, r, r.Untagged)
		}
	}
}
