package redis

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"mailsplice/core/store/channel"
)

// checkEvery is how often the servers are asked whether they are still who they were. With pingEvery it bounds how long a
// replaced primary goes unnoticed.
const checkEvery = 2 * time.Second

var (
	errReplaced = errors.New("primary was replaced")
	errMoved    = errors.New("primaries of the cluster changed")
)

// Notify sets the function that learns of changes. To be called before Watch.
func (s *Store) Notify(changed func(identifiers []string)) { s.news = changed }

// Watch begins to listen for notices. To be called once, before Close.
func (s *Store) Watch(lost, back func()) {
	s.notices = channel.Open(channel.Options{Source: "redis", Listen: s.listen, Lost: lost, Back: back, Logger: s.log})
}

// listen follows all primaries until one connection breaks, they change or ctx ends.
func (s *Store) listen(ctx context.Context, up func()) error {
	c, err := s.reached()
	if err != nil {
		return err
	}
	primaries, err := s.primaries(ctx, c)
	if err != nil {
		return err
	}
	w := &watch{s: s, broke: make(chan error, 1), flushed: make(chan *ear, 1)}
	defer w.close()
	if len(primaries) == 0 {
		return errMoved
	}
	for _, node := range primaries {
		if err := w.follow(ctx, node); err != nil {
			return err
		}
	}
	up()
	return w.hear(ctx, c, slices.Sorted(maps.Keys(primaries)))
}

// watch is one time of listening.
type watch struct {
	s       *Store
	ears    []*ear
	broke   chan error // why a connection ended; the first one is enough
	flushed chan *ear  // everything may have changed; one reminder is enough
}

// ear is the connection to one primary.
type ear struct {
	client rueidis.DedicatedClient
	ended  <-chan error // closed when the connection is, and before the library says so by an empty notice
	role   string
}

// follow opens a connection to a primary and has it send notices.
func (w *watch) follow(ctx context.Context, node rueidis.Client) error {
	client, _ := node.Dedicate() // closed by close, not handed back: it is not fit for others
	e := &ear{client: client}
	w.ears = append(w.ears, e)
	ctx, cancel := context.WithTimeout(ctx, w.s.timeout)
	defer cancel()
	role, err := w.s.greet(ctx, client)
	if err != nil {
		return err
	}
	e.role = role
	e.ended = client.SetOnInvalidations(func(keys []rueidis.RedisMessage) { w.heard(e, keys) })
	go w.await(e.ended) // until close
	args := []string{"ON", "BCAST"}
	if w.s.prefix != "" {
		args = append(args, "PREFIX", w.s.prefix)
	}
	err = client.Do(ctx, client.B().Arbitrary("CLIENT", "TRACKING").Args(args...).Build()).Error()
	if _, refused := rueidis.IsRedisErr(err); refused {
		return fmt.Errorf("switching notices on: %w: %w", channel.ErrNone, told(err))
	}
	return err
}

// await passes on why a connection ended.
func (w *watch) await(ended <-chan error) {
	err, ok := <-ended
	if !ok || err == nil {
		err = errReplaced
	}
	select {
	case w.broke <- err:
	default:
	}
}

// heard is called on the connection's reading goroutine. The library says nil for a flush and for its end alike.
func (w *watch) heard(e *ear, keys []rueidis.RedisMessage) {
	if keys == nil {
		select {
		case w.flushed <- e:
		default:
		}
		return
	}
	identifiers := make([]string, 0, len(keys))
	for _, k := range keys {
		key, err := k.ToString()
		if identifier, ours := strings.CutPrefix(key, w.s.prefix); ours && err == nil {
			identifiers = append(identifiers, identifier)
		}
	}
	w.s.news(identifiers)
}

// hear waits for the end.
func (w *watch) hear(ctx context.Context, c rueidis.Client, addresses []string) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-w.broke:
			return err
		case e := <-w.flushed:
			select {
			case <-e.ended:
				return errReplaced
			default:
				w.s.news(nil)
			}
		case <-tick.C:
			if err := w.check(ctx, c, addresses); err != nil {
				return err
			}
		}
	}
}

// check asks every server whether it is still what it was, which shows that the connection works, too.
func (w *watch) check(ctx context.Context, c rueidis.Client, addresses []string) error {
	ctx, cancel := context.WithTimeout(ctx, w.s.timeout)
	defer cancel()
	for _, e := range w.ears {
		if role, err := w.s.greet(ctx, e.client); err != nil || role != e.role {
			return errors.Join(errReplaced, err)
		}
	}
	if c.Mode() != rueidis.ClientModeCluster {
		return nil
	}
	now, err := w.s.primariesBy(ctx, c, w.ears[0].client)
	if err != nil || !slices.Equal(slices.Sorted(maps.Keys(now)), addresses) {
		return errors.Join(errMoved, err)
	}
	return nil
}

// close ends the connections.
func (w *watch) close() {
	for _, e := range w.ears {
		e.client.Close()
	}
}

// greet asks a server for its role, and whether it speaks RESP3, without which there are no notices.
func (s *Store) greet(ctx context.Context, c rueidis.DedicatedClient) (role string, err error) {
	about, err := c.Do(ctx, c.B().Arbitrary("HELLO").Build()).AsMap()
	if _, refused := rueidis.IsRedisErr(err); refused {
		return "", fmt.Errorf("asking for RESP3: %w: %w", channel.ErrNone, told(err))
	}
	if err != nil {
		return "", err
	}
	proto, rank := about["proto"], about["role"]
	if n, err := proto.AsInt64(); err != nil || n < 3 {
		return "", fmt.Errorf("server or a proxy before it does not speak RESP3: %w", channel.ErrNone)
	}
	role, err = rank.ToString()
	if err == nil && s.sentinels && role != "master" {
		return "", errReplaced
	}
	return role, err
}

// primaries is the servers that mappings are written to, by address. In a cluster the first server that answers says so.
func (s *Store) primaries(ctx context.Context, c rueidis.Client) (found map[string]rueidis.Client, err error) {
	if c.Mode() != rueidis.ClientModeCluster {
		return map[string]rueidis.Client{"": c}, nil
	}
	for _, node := range c.Nodes() {
		if found, err = s.primariesBy(ctx, c, node); err == nil {
			return found, nil
		}
	}
	return nil, errors.Join(errMoved, err)
}

// primariesBy asks one server of a cluster.
func (s *Store) primariesBy(ctx context.Context, c rueidis.Client, asked rueidis.CoreClient) (map[string]rueidis.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	slots, err := asked.Do(ctx, asked.B().ClusterSlots().Build()).ToArray()
	if err != nil {
		return nil, fmt.Errorf("asking for the cluster's primaries: %w", told(err))
	}
	nodes, found := c.Nodes(), map[string]rueidis.Client{}
	for _, slot := range slots {
		host, port := primaryOf(slot)
		address, node := match(nodes, host, port)
		if node == nil {
			return nil, fmt.Errorf("primary at %s:%s is not connected: %w", host, port, errMoved)
		}
		found[address] = node
	}
	return found, nil
}

// primaryOf reads [first slot, last slot, [host, port, ...], replicas...].
func primaryOf(slot rueidis.RedisMessage) (host, port string) {
	parts, err := slot.ToArray()
	if err != nil || len(parts) < 3 {
		return "", ""
	}
	node, err := parts[2].ToArray()
	if err != nil || len(node) < 2 {
		return "", ""
	}
	host, _ = node[0].ToString() // null or empty: the host that was asked
	n, _ := node[1].AsInt64()
	return host, strconv.FormatInt(n, 10)
}

func match(nodes map[string]rueidis.Client, host, port string) (string, rueidis.Client) {
	if address := net.JoinHostPort(host, port); nodes[address] != nil {
		return address, nodes[address]
	}
	if host == "" || host == "?" {
		for address, node := range nodes {
			if strings.HasSuffix(address, ":"+port) {
				return address, node
			}
		}
	}
	return "", nil
}
