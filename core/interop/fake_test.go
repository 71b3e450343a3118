package interop

import (
	"testing"

	"mailsplice/core/mailfake"
)

// TestFakeServer lets the real clients judge the scripted server, which the other packages' tests rely on.
func TestFakeServer(t *testing.T) {
	wanted(t)
	s := &stage{accounts: makeAccounts(bothHomes...), counts: map[string]int{}, door: plain}
	b, err := mailfake.NewIMAP(mailfake.Options{Name: "legacy", Check: s.fakeVerdict(s.accounts)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	s.fake = b
	for _, name := range []string{"login", "plain", "loginmech", "xoauth2", "retry", "bulk"} {
		t.Run("imaplib "+name, func(t *testing.T) { fakeLands(t, s, name) })
	}
	t.Run("imaplib idle", func(t *testing.T) {
		a := s.take(t, "legacy")
		p := s.python(t, "idle", a, s.source())
		p.await("idling")
		s.appendSmall(t, a)
		p.await("notified")
		p.end()
	})
	t.Run("curl", func(t *testing.T) {
		a := s.take(t, "legacy")
		s.curlLands(t, a, s.source(), userConfig(a.name, a.password))
	})
	t.Run("mbsync", func(t *testing.T) {
		a := s.take(t, "legacy")
		if out, code := s.mbsync(t, a, a.password, "LOGIN", t.TempDir()); code != 0 {
			t.Errorf("status %d, %s", code, out)
		}
	})
	if got := b.Counts(); got.Refused != 1 || got.Accepted != 10 {
		t.Errorf("got %+v, want the one refusal of retry and ten logins", got)
	}
}

func fakeLands(t *testing.T, s *stage, name string) {
	p := s.python(t, name, s.take(t, "legacy"), s.source())
	p.await("landed legacy")
	p.end()
}

// fakeVerdict knows the passwords, and takes any token.
func (s *stage) fakeVerdict(accounts []account) func(mailfake.Credentials) mailfake.Verdict {
	passwords := map[string]string{}
	for _, a := range accounts {
		passwords[a.name] = a.password
	}
	return func(c mailfake.Credentials) mailfake.Verdict {
		if want, known := passwords[c.User]; known && (c.Token != "" || c.Password == want) {
			return mailfake.Accept()
		}
		return mailfake.Refuse()
	}
}
