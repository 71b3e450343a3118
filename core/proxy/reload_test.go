package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"mailsplice/core/config"
	"mailsplice/core/mailfake"
)

// rewrite changes the configuration file by replacing text, and puts it in force.
func (r *rig) rewrite(pairs ...string) (restart []string, err error) {
	r.t.Helper()
	text, readErr := os.ReadFile(r.path("conf"))
	if readErr != nil {
		r.t.Fatal(readErr)
	}
	next := strings.NewReplacer(pairs...).Replace(string(text))
	if len(pairs) > 0 && next == string(text) {
		r.t.Fatalf("nothing to replace: %q", pairs)
	}
	r.write("conf", next)
	cfg, _, err := config.Load(r.path("conf"), LoadOptions())
	if err != nil {
		return nil, err
	}
	return r.proxy.Reload(cfg)
}

// mustRewrite is rewrite with nothing left for a restart.
func (r *rig) mustRewrite(pairs ...string) {
	r.t.Helper()
	if restart, err := r.rewrite(pairs...); err != nil || len(restart) > 0 {
		r.t.Fatalf("got %v, %v", restart, err)
	}
}

// A destination, a default, limits and words change for logins to come; sessions stay as they are.
func TestReloadChangesRouting(t *testing.T) {
	r := newRig(t, stage{mappings: "bob new\n"})
	before := r.login("alice")
	r.mustRewrite(`default_destination = "legacy"`, `default_destination = "new"`)
	r.landed(r.login("alice"), "new")
	r.landed(before, "legacy")
	r.write("mappings", "bob legacy\n")
	r.mustRewrite()
	r.landed(r.login("bob"), "legacy")
	if c := r.dial(); !strings.Contains(c.Greeting, " ready") {
		t.Errorf("greeting: got %q", c.Greeting)
	}
	r.mustRewrite("[capabilities.imap]", "[capabilities.imap]\nbanner = \"good morning\"")
	if c := r.dial(); !strings.Contains(c.Greeting, "good morning") {
		t.Errorf("greeting: got %q, want the new banner", c.Greeting)
	}
}

// A destination that is gone takes no more logins; its sessions live on, are counted and can be kicked.
func TestReloadDropsDestination(t *testing.T) {
	r := newRig(t, stage{mappings: "alice new\n"})
	c := r.login("alice")
	r.write("mappings", "")
	text, _ := os.ReadFile(r.path("conf"))
	a, z := strings.Index(string(text), "[destination.new]"), strings.Index(string(text), "[mapping]")
	r.mustRewrite(string(text[a:z]), "")
	r.landed(c, "new")
	r.landed(r.login("alice"), "legacy")
	if n := r.proxy.sessions.Counts().Joined; n != 2 {
		t.Errorf("sessions: got %d, want 2", n)
	}
	r.must("POST", "/connections/kick?identifier=alice")
	r.ended(c)
	if status, _ := r.call("PUT", "/mappings?identifier=alice&destination=new"); status != 400 {
		t.Errorf("mapping to what is gone: got %d, want 400", status)
	}
}

// Listeners come, go and change; the sessions of one that is gone live on.
func TestReloadListeners(t *testing.T) {
	r := newRig(t, stage{})
	old, second := r.addr(), freePort(t)
	kept := r.login("alice")
	extra := fmt.Sprintf("[listener.more]\nprotocol = \"imap\"\nbind = [%q]\ntls = %q\nmax_connections = 1\n[capabilities.imap]", second, mode.listener)
	r.mustRewrite("[capabilities.imap]", extra)
	r.entrance = "more"
	r.landed(r.login("bob"), "legacy")
	if c, err := r.try(mailfake.ClientOptions{}); err == nil && !strings.HasPrefix(c.Greeting, "* BYE") {
		t.Errorf("max_connections of the new listener: got %q", c.Greeting)
	}
	// The first listener goes; the second takes its address over as well.
	text, _ := os.ReadFile(r.path("conf"))
	a, z := strings.Index(string(text), "[listener.imap]"), strings.Index(string(text), "[listener.more]")
	r.mustRewrite(string(text[a:z]), "", "max_connections = 1", "max_connections = 10", fmt.Sprintf("bind = [%q]", second), fmt.Sprintf("bind = [%q]", old))
	r.await("the address to be closed", func() bool { return refused(second) })
	r.landed(r.login("carol"), "legacy")
	r.landed(kept, "legacy")
	if got := r.metric(`connections_accepted_total{listener="more"}`); got < 2 {
		t.Errorf("accepted by the listener that took the address over: got %d", got)
	}
}

func refused(addr string) bool {
	c, err := net.Dial("tcp", addr)
	if err == nil {
		c.Close()
	}
	return err != nil
}

// What cannot be put in force as a whole changes nothing.
func TestReloadAllOrNothing(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	r := newRig(t, stage{})
	conf, _ := os.ReadFile(r.path("conf"))
	extra := fmt.Sprintf("[listener.more]\nprotocol = \"imap\"\nbind = [%q, %q]\ntls = %q\n[capabilities.imap]", freePort(t), taken.Addr(), mode.listener)
	_, err = r.rewrite("[capabilities.imap]", extra, `default_destination = "legacy"`, `default_destination = "new"`)
	if bind := (*BindError)(nil); !errors.As(err, &bind) || bind.Name != "more" {
		t.Fatalf("got %v, want that a listener cannot bind", err)
	}
	r.landed(r.login("alice"), "legacy")
	r.write("conf", string(conf))
	if _, err := r.rewrite("port = ", "prt = "); err == nil {
		t.Error("a broken file was put in force")
	}
	r.landed(r.login("alice"), "legacy")
	r.write("conf", string(conf))
	restart, err := r.rewrite("threads = 2", "threads = 3\nlog_format = \"json\"")
	if err != nil || strings.Join(restart, " ") != "server.threads server.log_format" {
		t.Errorf("got %v, %v", restart, err)
	}
}

// A storm of reloads under login load drops no login (SPEC 8).
func TestReloadStorm(t *testing.T) {
	r := newRig(t, stage{server: "proxy_ttl = 5"})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var failed sync.Map
	var ended [4]atomic.Int32 // logins of each client
	for i := range ended {
		wg.Go(func() { // until stop
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				c, err := mailfake.DialWith(r.addr(), r.client(mailfake.ClientOptions{Timeout: patience}))
				if err == nil && mode.listener == "starttls" {
					err = startTLS(c)
				}
				if err == nil {
					err = c.Login("alice", password)
				}
				if c != nil {
					c.Close()
				}
				if err != nil {
					failed.Store(fmt.Sprint(i, ".", n), err)
				}
				ended[i].Add(1)
			}
		})
	}
	began := r.legacy.Counts().Accepted + r.new.Counts().Accepted
	for i := range 100 { // a hundred times faster than reloads ever come
		r.mustRewrite(fmt.Sprintf("proxy_ttl = %d", 5+i%2), fmt.Sprintf("proxy_ttl = %d", 6-i%2))
		switch i % 20 {
		case 5: // all accounts move: more often than three times within a login they may not, however slow it is
			r.mustRewrite(`default_destination = "legacy"`, `default_destination = "new"`)
			r.awaitLogins(&ended)
		case 15:
			r.mustRewrite(`default_destination = "new"`, `default_destination = "legacy"`)
			r.awaitLogins(&ended)
		case 0: // another store and cache
			r.mustRewrite("source = \"file\"", "source = \"file\"\nnormalize = \"lowercase\"")
		case 10:
			r.mustRewrite("normalize = \"lowercase\"\n", "")
		}
	}
	close(stop)
	wg.Wait()
	failed.Range(func(k, v any) bool { t.Errorf("login %v: %v", k, v); return true })
	if t.Failed() {
		for _, line := range r.log.lines("login unavailable") {
			t.Log(line)
		}
	}
	if got := r.legacy.Counts().Accepted + r.new.Counts().Accepted - began; got < 20 {
		t.Errorf("logins during the storm: got %d, want many", got)
	}
}

// awaitLogins waits until no client is in a login that it is in now.
func (r *rig) awaitLogins(ended *[4]atomic.Int32) {
	for i := range ended {
		n := ended[i].Load()
		r.await("the end of a login", func() bool { return ended[i].Load() > n })
	}
}

// TLS policies that a reload leaves alone keep their sessions; changed ones begin anew (DESIGN 3.7).
func TestReloadKeepsSessionCaches(t *testing.T) {
	if mode.legacy == "plain" {
		return // nothing to keep: the other modes are what this is about
	}
	r := newRig(t, stage{})
	cache := func() any {
		for k, v := range r.proxy.security.dials {
			if k.destination == "legacy" {
				return v.config
			}
		}
		return nil
	}
	before := cache()
	r.mustRewrite(`default_destination = "legacy"`, `default_destination = "new"`)
	if cache() != before {
		t.Error("a reload of something else made a new policy")
	}
	r.mustRewrite("tls_server_name = \"legacy.test\"", "tls_server_name = \"legacy.test\"\ntls_post_quantum = true")
	if cache() == before {
		t.Error("changed settings kept the old sessions")
	}
}

// A new level is in force at once.
func TestReloadLogLevel(t *testing.T) {
	r := newRig(t, stage{})
	r.mustRewrite(`log_level = "debug"`, `log_level = "error"`)
	before := len(r.log.lines("login accepted"))
	r.login("alice")
	r.await("the session", func() bool { return r.proxy.sessions.Counts().Joined == 1 })
	if got := len(r.log.lines("login accepted")); got != before {
		t.Errorf("lines at error: got %d, want %d", got, before)
	}
}
