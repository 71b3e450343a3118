package sasl

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"mailsplice/protocols/dialog"
)

func b64(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

// show puts a login into words.
func show(l *dialog.Login) string {
	if l == nil {
		return "none"
	}
	return fmt.Sprintf("%d id=%s authz=%s authc=%s pw=%s frame=%q", l.Method, l.Identifier, l.AuthzID, l.AuthcID, l.Password, l.Frame)
}

func TestExchange(t *testing.T) {
	long := strings.Repeat("a", MaxIdentifierBytes)
	for _, c := range []struct {
		mech   Mechanism
		frames []string
		want   string
	}{
		{Plain, []string{"\x00alice\x00sesame"}, "1 id=alice authz= authc=alice pw=sesame frame=\"\""},
		{Plain, []string{"bob\x00admin\x00secret"}, "1 id=bob authz=bob authc=admin pw=secret frame=\"\""},
		{Plain, []string{"al\x00al\x00"}, "1 id=al authz=al authc=al pw= frame=\"\""},
		{Plain, []string{"bob\x00the admin\x00 s "}, "1 id=bob authz=bob authc=the admin pw= s  frame=\"\""},
		{Plain, []string{"\x00" + long + "\x00x"}, "1 id=" + long + " authz= authc=" + long + " pw=x frame=\"\""},
		{Plain, []string{"\x00jörg\x00\xff"}, "1 id=jörg authz= authc=jörg pw=\xff frame=\"\""},
		{Login, []string{"alice", "sesame"}, "1 id=alice authz= authc=alice pw=sesame frame=\"\""},
		{XOAuth2, []string{"user=a\x01auth=Bearer t\x01\x01"}, "3 id=a authz= authc= pw= frame=\"user=a\\x01auth=Bearer t\\x01\\x01\""},
		{XOAuth2, []string{"auth=Bearer t\x01"}, "3 id= authz= authc= pw= frame=\"auth=Bearer t\\x01\""},
		{XOAuth2, []string{"auth=Bearer sw1.x.YUBi\x01\x01"}, "3 id=a@b authz= authc= pw= frame=\"auth=Bearer sw1.x.YUBi\\x01\\x01\""},
		{OAuthBearer, []string{"n,a=a=2Cb=3D,\x01auth=Bearer t\x01\x01"}, "2 id=a,b= authz= authc= pw= frame=\"n,a=a=2Cb=3D,\\x01auth=Bearer t\\x01\\x01\""},
		{OAuthBearer, []string{"y,,\x01user=u\x01auth=Bearer t\x01\x01"}, "2 id=u authz= authc= pw= frame=\"y,,\\x01user=u\\x01auth=Bearer t\\x01\\x01\""},
		{OAuthBearer, []string{"n,a=a,\x01user=u\x01\x01"}, "2 id=a authz= authc= pw= frame=\"n,a=a,\\x01user=u\\x01\\x01\""},
		{OAuthBearer, []string{"n,,\x01auth=BEARER  sw1.x.YUBi\x01\x01"}, "2 id=a@b authz= authc= pw= frame=\"n,,\\x01auth=BEARER  sw1.x.YUBi\\x01\\x01\""},
		{OAuthBearer, []string{"n,,\x01auth=MAC sw1.x.YUBi\x01\x01"}, "2 id= authz= authc= pw= frame=\"n,,\\x01auth=MAC sw1.x.YUBi\\x01\\x01\""},
	} {
		x := Begin(c.mech, "email")
		var l *dialog.Login
		var err error
		for _, frame := range c.frames {
			l, err = x.Answer([]byte(b64(frame)))
		}
		if got := show(l); got != c.want || err != nil {
			t.Errorf("%v %q: got %s %v, want %s", c.mech, c.frames, got, err, c.want)
		}
	}
}

func TestExchangeRefuses(t *testing.T) {
	for _, c := range []struct {
		mech  Mechanism
		frame string
		want  error
	}{
		{Plain, "", ErrSyntax},
		{Plain, "alice", ErrSyntax},
		{Plain, "\x00alice", ErrSyntax},
		{Plain, "\x00\x00x", ErrRefused},
		{Plain, "bob\x00\x00x", ErrRefused},
		{Plain, "\x00al ice\x00x", ErrRefused},
		{Plain, "\x00al\"ice\x00x", ErrRefused},
		{Plain, "\x00\xff\x00x", ErrRefused},
		{Plain, "\x00al\x7fice\x00x", ErrRefused},
		{Plain, "\x00" + strings.Repeat("a", MaxIdentifierBytes+1) + "\x00x", ErrRefused},
		{Plain, "b\nb\x00admin\x00x", ErrRefused},
		{Plain, "bob\x00ad\rmin\x00x", ErrRefused},
		{Plain, "\x00alice\x00a\x00b", ErrRefused},
		{Plain, "\x00alice\x00a\r\nb", ErrRefused},
		{XOAuth2, "", ErrSyntax},
		{XOAuth2, "\x01\x01", ErrSyntax},
		{XOAuth2, "user", ErrSyntax},
		{XOAuth2, "=x\x01auth=Bearer t", ErrSyntax},
		{XOAuth2, "user=a\x01user=b\x01auth=Bearer t\x01\x01", ErrSyntax},
		{XOAuth2, "user=a\x01auth=Bearer t\x01auth=Bearer u\x01\x01", ErrSyntax},
		{XOAuth2, "user=a b\x01auth=Bearer t\x01\x01", ErrRefused},
		{XOAuth2, "user=a\x01auth=Bearer t\x00\x01\x01", ErrRefused},
		{XOAuth2, "auth=Bearer sw1.x.YSBAYg\x01\x01", ErrRefused}, // the token says "a @b"
		{OAuthBearer, "\x01", ErrSyntax},
		{OAuthBearer, "n,,", ErrSyntax},
		{OAuthBearer, "n,,\x01\x01", ErrSyntax},
		{OAuthBearer, "n,a=,\x01auth=Bearer t\x01\x01", ErrSyntax},
		{OAuthBearer, "n,a=a,b,\x01auth=Bearer t\x01\x01", ErrSyntax},
		{OAuthBearer, "n,u=a,\x01auth=Bearer t\x01\x01", ErrSyntax},
		{OAuthBearer, "n,a=a=2,\x01auth=Bearer t\x01\x01", ErrSyntax},
		{OAuthBearer, "n,a=a=,\x01auth=Bearer t\x01\x01", ErrSyntax},
		{OAuthBearer, "n,a=a=2c,\x01auth=Bearer t\x01\x01", ErrSyntax},
		{OAuthBearer, "p=x,a=a,\x01auth=Bearer t\x01\x01", ErrSyntax},
		{OAuthBearer, "n\x01auth=Bearer t\x01\x01", ErrSyntax},
		{OAuthBearer, "n,a=a\nb,\x01auth=Bearer t\x01\x01", ErrRefused},
	} {
		x := Begin(c.mech, "email")
		if l, err := x.Answer([]byte(b64(c.frame))); l != nil || !errors.Is(err, c.want) {
			t.Errorf("%v %q: got %s %v, want %v", c.mech, c.frame, show(l), err, c.want)
		}
	}
}

func TestExchangeLines(t *testing.T) {
	for _, c := range []struct {
		line string
		want error
	}{
		{"*", ErrAborted},
		{"**", ErrSyntax},
		{"=", ErrSyntax},
		{"AGE", ErrSyntax},
		{strings.Repeat("A", MaxLineBytes+4), ErrSyntax},
	} {
		x := Begin(Plain, "email")
		if l, err := x.Answer([]byte(c.line)); l != nil || !errors.Is(err, c.want) {
			t.Errorf("%.20q: got %s %v, want %v", c.line, show(l), err, c.want)
		}
	}
}

func TestInitial(t *testing.T) {
	x := Begin(Login, "email")
	if l, err := x.Initial([]byte("=")); l != nil || err != nil || x.Prompt() != "UGFzc3dvcmQ6" {
		t.Errorf("empty initial response: got %s %v %q, want the second prompt", show(l), err, x.Prompt())
	}
	if _, err := x.Answer([]byte(b64("x"))); !errors.Is(err, ErrRefused) {
		t.Errorf("empty user name: got %v, want %v", err, ErrRefused)
	}
}

// BACKENDS: Outlook knows exactly these prompts.
func TestPrompts(t *testing.T) {
	for _, m := range []Mechanism{Plain, OAuthBearer, XOAuth2} {
		if x := Begin(m, ""); x.Prompt() != "" {
			t.Errorf("%v: got prompt %q, want none", m, x.Prompt())
		}
	}
	x := Begin(Login, "")
	if got := x.Prompt(); got != b64("Username:") {
		t.Errorf("first prompt: got %q", got)
	}
	x.Answer([]byte(b64("alice")))
	if got := x.Prompt(); got != b64("Password:") {
		t.Errorf("second prompt: got %q", got)
	}
}

// SECURITY 18: what an exchange held is zeroed when it ends badly, and a refused password, too.
func TestSecretsAreZeroed(t *testing.T) {
	x := Begin(Login, "")
	x.Answer([]byte(b64("alice")))
	user := x.user
	x.Answer([]byte("*"))
	if strings.Trim(string(user), "\x00") != "" || x.user != nil {
		t.Errorf("user name after an abort: %q, want zeroes", user)
	}
	password := []byte("se\nsame")
	if _, err := Password([]byte("alice"), password); !errors.Is(err, ErrRefused) || strings.Trim(string(password), "\x00") != "" {
		t.Errorf("refused password: %q %v, want zeroes", password, err)
	}
}

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name string
		want Mechanism
	}{
		{"PLAIN", Plain}, {"login", Login}, {"OAuthBearer", OAuthBearer}, {"XOAUTH2", XOAuth2},
		{"", None}, {"PLAINX", None}, {"GSSAPI", None},
	} {
		if got := Parse(c.name); got != c.want {
			t.Errorf("%q: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestMethods(t *testing.T) {
	for _, c := range []struct {
		mech   Mechanism
		method dialog.Method
		back   Mechanism
	}{
		{Plain, dialog.Password, None}, {Login, dialog.Password, None},
		{OAuthBearer, dialog.OAuthBearer, OAuthBearer}, {XOAuth2, dialog.XOAuth2, XOAuth2}, {None, 0, None},
	} {
		if got := c.mech.Method(); got != c.method || OfMethod(got) != c.back {
			t.Errorf("%v: got method %v and back %v, want %v and %v", c.mech, got, OfMethod(got), c.method, c.back)
		}
	}
	if got := Mechanism(99).String(); got != "" {
		t.Errorf("unknown mechanism: got %q, want nothing", got)
	}
}

func TestEncode(t *testing.T) {
	password := &dialog.Login{AuthcID: []byte("admin"), AuthzID: []byte("bob"), Password: []byte("x")}
	oauth := &dialog.Login{Method: dialog.XOAuth2, Frame: []byte("user=a\x01auth=Bearer t\x01\x01")}
	for _, c := range []struct {
		name string
		got  []byte
		want string
	}{
		{"PLAIN", AppendInitial(nil, Plain, password), b64("bob\x00admin\x00x")},
		{"PLAIN behind text", AppendInitial([]byte("a "), Plain, password), "a " + b64("bob\x00admin\x00x")},
		{"PLAIN, prompted", AppendFirst(nil, Plain, password), b64("bob\x00admin\x00x")},
		{"LOGIN", AppendInitial(nil, Login, password), b64("admin")},
		{"user", AppendUser(nil, password), b64("admin")},
		{"password", AppendPassword(nil, password), b64("x")},
		{"frame", AppendInitial(nil, XOAuth2, oauth), b64("user=a\x01auth=Bearer t\x01\x01")},
		{"no frame", AppendInitial([]byte("a "), OAuthBearer, &dialog.Login{}), "a ="},
		{"no frame, prompted", AppendFirst([]byte("a "), OAuthBearer, &dialog.Login{}), "a "},
	} {
		if string(c.got) != c.want {
			t.Errorf("%s: got %q, want %q", c.name, c.got, c.want)
		}
	}
	for _, m := range []Mechanism{Plain, Login} {
		if got, want := InitialLen(m, password), len(AppendInitial(nil, m, password)); got != want {
			t.Errorf("InitialLen(%v): got %d, want %d", m, got, want)
		}
	}
	for _, l := range []*dialog.Login{oauth, {}} {
		if got, want := InitialLen(XOAuth2, l), len(AppendInitial(nil, XOAuth2, l)); got != want {
			t.Errorf("InitialLen(XOAUTH2): got %d, want %d", got, want)
		}
	}
}

// SECURITY 13.
func TestForeignAuthz(t *testing.T) {
	for _, c := range []struct {
		authz, authc string
		want         bool
	}{
		{"", "alice", false}, {"alice", "alice", false}, {"bob", "alice", true}, {"Alice", "alice", true},
	} {
		if got := ForeignAuthz(&dialog.Login{AuthzID: []byte(c.authz), AuthcID: []byte(c.authc)}); got != c.want {
			t.Errorf("%q as %q: got %v, want %v", c.authc, c.authz, got, c.want)
		}
	}
}

// FuzzExchange feeds a mechanism one or two lines. A login that comes of them has a lawful identifier, no forbidden
// byte, and encodes to what the client sent.
func FuzzExchange(f *testing.F) {
	for m := Plain; m <= XOAuth2; m++ {
		for _, frame := range []string{"\x00alice\x00sesame", "alice", "n,a=a=2C,\x01auth=Bearer a.b.c\x01\x01", "user=a\x01auth=Bearer t\x01\x01", "*"} {
			f.Add(uint8(m), []byte(frame), []byte("sesame"))
		}
	}
	f.Fuzz(func(t *testing.T, mech uint8, first, second []byte) {
		m := Mechanism(mech%4) + Plain
		x := Begin(m, "email")
		x.Answer(first)
		x.Wipe()
		x = Begin(m, "email")
		l, err := x.Answer([]byte(b64(string(first))))
		if m == Login && err == nil {
			l, err = x.Answer([]byte(b64(string(second))))
		}
		if err != nil {
			return
		}
		judge(t, m, l, string(first))
		l.Wipe()
	})
}

func judge(t *testing.T, m Mechanism, l *dialog.Login, first string) {
	t.Helper()
	if l.Identifier == "" && l.Method == dialog.Password || l.Identifier != "" && !validIdentifier([]byte(l.Identifier)) {
		t.Errorf("%v %q: identifier %q", m, first, l.Identifier)
	}
	for _, secret := range [][]byte{l.AuthcID, l.AuthzID, l.Password, l.Frame} {
		if strings.ContainsAny(string(secret), "\x00\r\n") {
			t.Errorf("%v %q: forbidden bytes in %q", m, first, secret)
		}
	}
	if got := AppendFirst(nil, m, l); string(got) != b64(first) {
		t.Errorf("%v %q: replayed as %s", m, first, got)
	}
}
