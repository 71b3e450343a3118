package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/bits"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	"mailsplice/core/store/channel"
)

const (
	// Defaults of SPEC 2.5.
	defaultPoolSize = 16
	defaultTimeout  = 5 * time.Second
	// dedicated connections to a server: one for notices, one for writes too large for the shared ones.
	dedicated = 2
	// pingEvery and the Timeout bound how long a silent death of a connection goes unnoticed.
	pingEvery = 2 * time.Second
	// bufferBytes of a connection each way; keys and destinations are short.
	bufferBytes = 32 << 10
	// retryEvery is the pause between attempts to find the servers for the first time.
	retryEvery = time.Second
)

// errNotYet: the server has not been reached since the start.
var errNotYet = errors.New("server has not been reached yet")

// Options are the settings of a Store.
type Options struct {
	// URL is the address in one of the forms above. It may hold a password.
	URL string
	// KeyPrefix stands before every identifier; it may be empty.
	KeyPrefix string
	// PoolSize bounds the connections to each server; 0: 16. Less than 3 is taken for 3. Commands are pipelined, so that a
	// few carry many look-ups.
	PoolSize int
	// Timeout bounds connecting, and how long a connection may be silent; 0: 5 s.
	Timeout time.Duration
	// TLS verifies servers and sentinels of rediss; nil: against the platform's roots. It is cloned.
	TLS    *tls.Config
	Logger *slog.Logger // nil: nobody
}

// Store is the mappings in Redis. It is safe for concurrent use.
type Store struct {
	// immutable after New
	prefix    string
	sentinels bool
	timeout   time.Duration
	log       *slog.Logger
	news      func(identifiers []string)
	notices   *channel.Channel

	options rueidis.ClientOption // owned by whoever connects: New, then the goroutine of connecting
	client  atomic.Pointer[rueidis.Client]
	stop    context.CancelFunc
	// connecting waits for the goroutine that New starts if it does not reach the server.
	connecting sync.WaitGroup
}

// New makes a Store. A server that cannot be reached is logged and tried again, until Close; look-ups fail meanwhile
// (SPEC 4.2). A bad address is an error, which repeats no password.
func New(o Options) (*Store, error) {
	a, err := parseAddress(o.URL)
	if err != nil {
		return nil, fmt.Errorf("reading the address of redis: %w", err)
	}
	s := &Store{prefix: o.KeyPrefix, sentinels: a.primary != "", timeout: o.Timeout, log: o.Logger, news: func([]string) {}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.timeout <= 0 {
		s.timeout = defaultTimeout
	}
	s.options = s.clientOptions(a, o)
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	if err := s.connect(); err != nil {
		s.log.Warn("mapping store cannot be reached, it is tried again", slog.String("source", "redis"), slog.Any("err", err))
		s.connecting.Go(func() { s.keepConnecting(ctx) }) // until it is reached, or Close
	}
	return s, nil
}

func (s *Store) clientOptions(a *address, o Options) rueidis.ClientOption {
	pool := o.PoolSize
	if pool <= 0 {
		pool = defaultPoolSize
	}
	c := rueidis.ClientOption{
		InitAddress: a.hosts, Username: a.user, Password: a.password, SelectDB: a.db,
		Dialer:           net.Dialer{Timeout: s.timeout, KeepAlive: pingEvery},
		ConnWriteTimeout: s.timeout,
		// Pipelined connections come in powers of two.
		PipelineMultiplex: min(bits.Len(uint(max(pool-dedicated, 1)))-1, rueidis.MaxPipelineMultiplex),
		BlockingPoolSize:  dedicated, ReadBufferEachConn: bufferBytes, WriteBufferEachConn: bufferBytes,
		AlwaysPipelining: true, // a reader on every connection, so that its end is seen before the next look-up
		DisableCache:     true,
		ClientSetInfo:    rueidis.DisableClientSetInfo,
		RetryDelay:       once,
	}
	if c.PipelineMultiplex == 0 {
		c.PipelineMultiplex = -1 // one connection; 0 would mean the library's choice
	}
	if a.tls {
		c.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		if o.TLS != nil {
			c.TLSConfig = o.TLS.Clone()
		}
	}
	c.ClusterOption.ShardsRefreshInterval = checkEvery
	if s.sentinels {
		c.Sentinel = rueidis.SentinelOption{Dialer: c.Dialer, TLSConfig: c.TLSConfig, MasterSet: a.primary, Username: a.sentinelUser,
			Password: a.sentinelPassword, TopologyRefreshInterval: checkEvery}
	}
	return c
}

// once has a read tried again, at once, one time: a connection that broke under it says nothing about the server.
func once(attempts int, _ rueidis.Completed, _ error) time.Duration {
	if attempts > 1 {
		return -1
	}
	return 0
}

// connect makes the client, which reaches the server or fails.
func (s *Store) connect() error {
	// A server named alone is asked whether it belongs to a cluster.
	alone := len(s.options.InitAddress) == 1 && !s.sentinels
	c, err := newClient(s.options, alone)
	if err != nil && lacksRESP3(err) {
		s.options.AlwaysRESP2 = true
		c, err = newClient(s.options, alone)
	}
	if err == nil && alone && s.inCluster(c) {
		c.Close()
		c, err = newClient(s.options, false)
	}
	if err != nil {
		return told(err)
	}
	s.client.Store(&c)
	return nil
}

// newClient reaches the servers, or leaves nothing behind.
func newClient(o rueidis.ClientOption, alone bool) (rueidis.Client, error) {
	o.ForceSingleClient = alone
	c, err := rueidis.NewClient(o)
	if err != nil && c != nil {
		c.Close()
	}
	return c, err
}

func (s *Store) inCluster(c rueidis.Client) bool {
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	about, err := c.Do(ctx, c.B().Arbitrary("HELLO").Build()).AsMap()
	mode := about["mode"]
	name, modeErr := mode.ToString()
	return err == nil && modeErr == nil && name == "cluster"
}

func (s *Store) keepConnecting(ctx context.Context) {
	tick := time.NewTicker(retryEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if s.connect() == nil {
			s.log.Info("mapping store reached", slog.String("source", "redis"))
			return
		}
	}
}

// reached is the client, once there is one.
func (s *Store) reached() (rueidis.Client, error) {
	if c := s.client.Load(); c != nil {
		return *c, nil
	}
	return nil, errNotYet
}

// Close ends all connections. Calls that are under way fail.
func (s *Store) Close() error {
	s.stop()
	if s.notices != nil {
		s.notices.Close()
	}
	s.connecting.Wait()
	if c := s.client.Load(); c != nil {
		(*c).Close()
	}
	return nil
}

// Lookup finds the destination of a normalised identifier.
func (s *Store) Lookup(ctx context.Context, identifier string) (destination string, found bool, err error) {
	c, err := s.reached()
	if err != nil {
		return "", false, fmt.Errorf("asking redis: %w", err)
	}
	destination, err = c.Do(ctx, c.B().Get().Key(s.prefix+identifier).Build()).ToString()
	switch {
	case rueidis.IsRedisNil(err):
		return "", false, nil
	case err != nil:
		return "", false, fmt.Errorf("asking redis: %w", told(err))
	}
	return destination, true, nil
}

// Put maps an identifier to a destination.
func (s *Store) Put(ctx context.Context, identifier, destination string) error {
	c, err := s.reached()
	if err == nil {
		err = c.Do(ctx, c.B().Set().Key(s.prefix+identifier).Value(destination).Build()).Error()
	}
	if err != nil {
		return fmt.Errorf("writing to redis: %w", told(err))
	}
	return nil
}

// Delete removes a mapping and tells whether there was one.
func (s *Store) Delete(ctx context.Context, identifier string) (existed bool, err error) {
	c, err := s.reached()
	n := int64(0)
	if err == nil {
		n, err = c.Do(ctx, c.B().Del().Key(s.prefix+identifier).Build()).AsInt64()
	}
	if err != nil {
		return false, fmt.Errorf("deleting from redis: %w", told(err))
	}
	return n > 0, nil
}

// told makes an error fit for logs. Servers quote keys and arguments in their errors, so their words are cut at the first
// quote; other errors are the network's and name addresses only.
func told(err error) error {
	reply, ok := rueidis.IsRedisErr(err)
	if !ok {
		return err
	}
	text := reply.Error()
	if i := strings.IndexAny(text, "'\"`"); i >= 0 {
		text = strings.TrimRight(text[:i], " ,:") + " (cut)"
	}
	return errors.New("server says: " + text)
}

// lacksRESP3 tells whether a server, or what stands before it, refuses the command that asks for RESP3. That it is too
// old for the command the library sees by itself.
func lacksRESP3(err error) bool {
	reply, ok := rueidis.IsRedisErr(err)
	if !ok {
		return false
	}
	text := strings.ToUpper(reply.Error())
	return strings.HasPrefix(text, "NOPROTO") || strings.Contains(text, "HELLO")
}
