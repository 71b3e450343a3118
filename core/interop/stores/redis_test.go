package stores

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"mailsplice/core/route"
	"mailsplice/core/store/redis"
)

// redisServer can be crashed.
type redisServer struct{ *process }

func (r redisServer) crash() { r.end(syscall.SIGKILL) }

func openRedis(t *testing.T, url string, change func(*redis.Options)) *redis.Store {
	t.Helper()
	o := redis.Options{URL: url, KeyPrefix: "route:", Logger: logger(t)}
	if change != nil {
		change(&o)
	}
	s, err := redis.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func redisURL(p *process) string { return "redis://:" + secret() + "@" + p.addr }

func TestRedis(t *testing.T) {
	wanted(t)
	srv := startRedis(t)
	url := redisURL(srv)
	pair := func(t *testing.T) (a, b *rig) {
		srv.cli("FLUSHALL")
		a, b = newRig(t, openRedis(t, url, nil), nil), newRig(t, openRedis(t, url, nil), nil)
		a.watching()
		b.watching()
		return a, b
	}
	scene(t, "redis", "writes and export", func(t *testing.T) {
		a, b := pair(t)
		srv.cli("RPUSH", "route:list", "x") // no mapping
		srv.cli("SET", "other:x", "new")
		writes(t, a, b)
	})
	scene(t, "redis", "two routers and redis-cli", func(t *testing.T) {
		a, b := pair(t)
		for _, g := range []*rig{a, b} {
			g.want("alice", "legacy default")
		}
		b.noticed("alice", "new", func() {
			if err := a.Put(ctx, "Alice", "new"); err != nil {
				t.Fatal(err)
			}
		})
		a.noticed("alice", "third", func() {
			if err := b.Put(ctx, "alice", "third"); err != nil {
				t.Fatal(err)
			}
		})
		a.noticed("alice", "new", func() { srv.cli("SET", "route:alice", "new") })
		a.noticed("alice", "legacy default", func() { srv.cli("DEL", "route:alice") })
		a.noticed("bob", "new", func() { srv.cli("MSET", "route:x", "new", "route:bob", "new") })
		a.noticed("bob", "legacy default", func() { srv.cli("PEXPIRE", "route:bob", "1") })
		a.noticed("x", "third", func() { srv.cli("EVAL", "return redis.call('SET', KEYS[1], 'third')", "1", "route:x") })
		srv.cli("FLUSHALL")
		a.told("*")
		a.want("x", "legacy default")
	})
	scene(t, "redis", "killed connection", func(t *testing.T) {
		a, _ := pair(t)
		a.want("alice", "legacy default")
		srv.cli("CLIENT", "KILL", "TYPE", "normal")
		a.told("*") // nothing cached before is trusted once notices are back
		a.noticed("alice", "new", func() { srv.cli("SET", "route:alice", "new") })
	})
	scene(t, "redis", "crashes under look-ups", func(t *testing.T) {
		crashes(t, redisServer{srv}, func() store { return openRedis(t, url, nil) })
	})
	scene(t, "redis", "change while it could not tell", func(t *testing.T) {
		other, _ := pair(t)
		fill(t, other)
		a := newRig(t, openRedis(t, url, nil), nil)
		a.watching()
		a.warm()
		srv.end(syscall.SIGKILL)
		until(t, "the router knows", func() bool { return a.Stats().Broken })
		a.want(account(1), "new") // still cached
		srv.start()
		srv.ready()
		srv.cli("SET", "route:"+account(1), "third")
		a.watching()
		a.want(account(1), "third")
		a.want(account(2), "new")
	})
	scene(t, "redis", "started after the router", func(t *testing.T) {
		srv.cli("SET", "route:carol", "new")
		srv.end(syscall.SIGTERM)
		g := newRig(t, openRedis(t, url, nil), func(o *route.Options) { o.OnStoreError = route.FallbackUnavailable })
		if got := g.at("dave"); !strings.Contains(got, "not available") {
			t.Errorf("got %s, want unavailable", got)
		}
		srv.start()
		g.watching()
		g.want("carol", "new")
	})
	scene(t, "redis", "wrong password", func(t *testing.T) {
		s := openRedis(t, "redis://:wrong@"+srv.addr, nil)
		defer s.Close()
		if _, _, err := s.Lookup(ctx, "alice"); err == nil {
			t.Error("a look-up without the right password succeeded")
		}
	})
}

// rediss:// verifies chain and name, for look-ups and notices alike.
func TestRedisTLS(t *testing.T) {
	wanted(t)
	ca, cert, key := certificate(t, credential(t, "redis"))
	secure := freePort(t)
	_, port, _ := strings.Cut(secure, ":")
	srv := startRedis(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", ca, "--tls-auth-clients", "no")
	pem, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	open := func(t *testing.T, c *tls.Config) *redis.Store {
		return openRedis(t, "rediss://:"+secret()+"@"+secure, func(o *redis.Options) { o.TLS = c })
	}
	scene(t, "redis", "TLS", func(t *testing.T) {
		g := newRig(t, open(t, &tls.Config{RootCAs: roots, ServerName: "mail.test"}), nil)
		g.watching()
		g.noticed("alice", "new", func() { srv.cli("SET", "route:alice", "new") })
	})
	scene(t, "redis", "TLS, not verified", func(t *testing.T) {
		for name, c := range map[string]*tls.Config{"unknown authority": nil, "other name": {RootCAs: roots, ServerName: "other.test"}, "address": {RootCAs: roots}} {
			s := open(t, c)
			if _, _, err := s.Lookup(ctx, "alice"); err == nil {
				t.Errorf("%s: a look-up succeeded", name)
			}
			s.Close()
		}
	})
}

// Without RESP3 there are no notices: a change by others is seen when the entry expires.
func TestRedisWithoutRESP3(t *testing.T) {
	wanted(t)
	srv := startRedis(t)
	for _, refusal := range []string{"-ERR unknown command 'HELLO', with args beginning with: '3' ", "-NOPROTO unsupported protocol version"} {
		scene(t, "redis", strings.Fields(refusal)[0][1:], func(t *testing.T) {
			srv.cli("FLUSHALL")
			old := oldProxy(t, srv.addr, refusal)
			c := &clock{}
			log := &lines{}
			s := openRedis(t, "redis://:"+secret()+"@"+old, func(o *redis.Options) { o.Logger = log.logger() })
			g := newRig(t, s, func(o *route.Options) { o.Clock = c.read })
			until(t, "the fallback is logged", func() bool { return log.holds("cannot send notices") })
			if g.Stats().Broken {
				t.Error("the router thinks that notices are late; there are none")
			}
			if err := g.Put(ctx, "alice", "new"); err != nil {
				t.Fatal(err)
			}
			g.want("alice", "new")
			srv.cli("SET", "route:alice", "third")
			g.want("alice", "new")
			c.now.Store(int64(hour - 1))
			g.want("alice", "new")
			c.now.Store(int64(hour))
			g.want("alice", "third")
			holds(t, g, map[string]string{"alice": "third"})
		})
	}
}

// Three primaries, each of which tells of its own keys.
func TestRedisCluster(t *testing.T) {
	wanted(t)
	var nodes []*process
	var addrs []string
	for range 3 {
		p := startRedis(t, "--cluster-enabled", "yes", "--cluster-announce-ip", host, "--cluster-node-timeout", "5000")
		nodes, addrs = append(nodes, p), append(addrs, p.addr)
	}
	nodes[0].cli(slices.Concat([]string{"--cluster", "create"}, addrs, []string{"--cluster-yes"})...)
	whole := func() { // in the eyes of all: each node refuses writes by its own opinion
		until(t, "the cluster is whole", func() bool {
			return !slices.ContainsFunc(nodes, func(p *process) bool { return !strings.Contains(p.cli("CLUSTER", "INFO"), "cluster_state:ok") })
		})
	}
	whole()
	several := "redis://:" + secret() + "@" + strings.Join(addrs, ",")
	scene(t, "redis", "cluster", func(t *testing.T) {
		a, b := newRig(t, openRedis(t, several, nil), nil), newRig(t, openRedis(t, redisURL(nodes[1]), nil), nil)
		a.watching()
		b.watching()
		writes(t, a, b)
		fill(t, a) // over all slots
		for i := range 20 {
			b.noticed(account(i), "third", func() { nodes[0].cli("-c", "SET", "route:"+account(i), "third") })
		}
	})
	scene(t, "redis", "cluster, a primary restarts", func(t *testing.T) {
		g := newRig(t, openRedis(t, several, nil), nil)
		g.watching()
		fill(t, g)
		for i := range 3 {
			nodes[i].end(syscall.SIGKILL)
			until(t, "the router knows", func() bool { return g.Stats().Broken })
			nodes[i].start()
			nodes[i].ready()
			g.watching()
		}
		whole()
		for i := range 10 {
			g.noticed(account(i), "third", func() { nodes[0].cli("-c", "SET", "route:"+account(i), "third") })
		}
	})
	scene(t, "redis", "cluster, all keys in one slot", func(t *testing.T) {
		g := newRig(t, openRedis(t, several, func(o *redis.Options) { o.KeyPrefix = "{route}:" }), nil)
		g.watching()
		fill(t, g)
		g.warm()
		if n, err := g.Delete(ctx, account(1)); !n || err != nil {
			t.Errorf("got %v, %v", n, err)
		}
	})
}

// The sentinels say which server is the primary, and the store follows when that changes.
func TestRedisSentinel(t *testing.T) {
	wanted(t)
	primary := startRedis(t)
	replica := startRedis(t, "--replicaof", host+" "+primary.port())
	until(t, "the replica is in step", func() bool {
		return strings.Contains(replica.cli("INFO", "replication"), "master_link_status:up")
	})
	sentinel := newProcess(t, "sentinel", "redis")
	conf := fmt.Sprintf("bind %s\nport %s\ndir %s\nsentinel monitor main %s %s 1\nsentinel auth-pass main \"%s\"\n"+
		"sentinel down-after-milliseconds main 1000\nsentinel failover-timeout main 5000\n", host, sentinel.port(), sentinel.dir, host, primary.port(), password)
	sentinel.setUp(conf, "tee", "sentinel.conf")
	sentinel.args = []string{"redis-server", sentinel.dir + "/sentinel.conf", "--sentinel"}
	sentinel.start()
	ask := func(args ...string) string {
		return run(t, nil, append([]string{"redis-cli", "-h", host, "-p", sentinel.port()}, args...)...)
	}
	until(t, "the sentinel knows the replica", func() bool { return strings.Contains(ask("SENTINEL", "replicas", "main"), replica.port()) })
	scene(t, "redis", "sentinel", func(t *testing.T) {
		g := newRig(t, openRedis(t, "redis+sentinel://:"+secret()+"@"+sentinel.addr+"/main/0", nil), nil)
		g.watching()
		fill(t, g)
		g.warm()
		g.noticed("alice", "new", func() { primary.cli("SET", "route:alice", "new") })
		primary.cli("WAIT", "1", "0")
		until(t, "the replica is the primary", func() bool {
			if strings.Contains(ask("SENTINEL", "get-master-addr-by-name", "main"), replica.port()) {
				return strings.Contains(replica.cli("ROLE"), "master")
			}
			// Again, should the sentinel have found no good replica the first time, as it does when it was not scheduled in time.
			ask("SENTINEL", "FAILOVER", "main")
			return false
		})
		until(t, "notices come from the new primary", func() bool {
			replica.cli("SET", "route:probe", "new")
			for len(g.changes) > 0 {
				if <-g.changes == "probe" {
					return !g.Stats().Broken
				}
			}
			return false
		})
		g.noticed("alice", "third", func() { replica.cli("SET", "route:alice", "third") })
		if err := g.Put(ctx, "bob", "new"); err != nil || replica.cli("GET", "route:bob") != "new" {
			t.Errorf("Put: got %v, want it on the new primary", err)
		}
	})
}
