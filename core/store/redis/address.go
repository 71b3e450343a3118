package redis

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Ports of addresses that name none.
const (
	serverPort   = "6379"
	sentinelPort = "26379"
)

// address is a parsed url.
type address struct {
	hosts          []string // HOST:PORT of servers, or of sentinels if there is a primary
	tls            bool
	user, password string
	db             int
	primary        string // the name that the sentinels know it by
	// of the sentinels
	sentinelUser, sentinelPassword string
}

var (
	errForm     = errors.New("address does not have the form of SPEC 2.5")
	errScheme   = errors.New("address begins with none of redis:// rediss:// redis+sentinel:// rediss+sentinel://")
	errDatabase = errors.New("address ends with something that is no number of a database")
	errPrimary  = errors.New("address of sentinels lacks the name of the primary")
)

// parseAddress reads a url. Its errors repeat nothing of it but host names and the names of parameters.
func parseAddress(text string) (*address, error) {
	scheme, rest, ok := strings.Cut(text, "://")
	base, sentinels := strings.CutSuffix(scheme, "+sentinel")
	if !ok || base != "redis" && base != "rediss" {
		return nil, errScheme
	}
	a := &address{tls: base == "rediss"}
	rest, query, _ := strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		if err := a.credentials(rest[:i]); err != nil {
			return nil, err
		}
		rest = rest[i+1:]
	}
	hosts, path, _ := strings.Cut(rest, "/")
	port := serverPort
	if sentinels {
		port = sentinelPort
		if a.primary, path, _ = strings.Cut(path, "/"); a.primary == "" {
			return nil, errPrimary
		}
	}
	if err := a.database(path); err != nil {
		return nil, err
	}
	if err := a.parameters(query, sentinels); err != nil {
		return nil, err
	}
	for host := range strings.SplitSeq(hosts, ",") {
		h, err := withPort(host, port)
		if err != nil {
			return nil, err
		}
		a.hosts = append(a.hosts, h)
	}
	return a, nil
}

func (a *address) credentials(text string) error {
	user, password, _ := strings.Cut(text, ":")
	var bad [2]error
	a.user, bad[0] = url.PathUnescape(user)
	a.password, bad[1] = url.PathUnescape(password)
	if bad[0] != nil || bad[1] != nil {
		return errForm
	}
	return nil
}

func (a *address) database(text string) error {
	if text == "" {
		return nil
	}
	n, err := strconv.ParseUint(text, 10, 31)
	if err != nil {
		return errDatabase
	}
	a.db = int(n)
	return nil
}

func (a *address) parameters(query string, sentinels bool) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errForm
	}
	for name := range values {
		switch {
		case sentinels && name == "sentinel_user":
			a.sentinelUser = values.Get(name)
		case sentinels && name == "sentinel_password":
			a.sentinelPassword = values.Get(name)
		default:
			return fmt.Errorf("address has an unknown parameter %q", name)
		}
	}
	return nil
}

// withPort completes HOST, and an IPv6 address in brackets, with a port.
func withPort(host, port string) (string, error) {
	if h, p, err := net.SplitHostPort(host); err == nil && h != "" && p != "" {
		return host, nil
	}
	bare := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if bare == "" || strings.HasPrefix(host, "[") != strings.HasSuffix(host, "]") || !strings.HasPrefix(host, "[") && strings.Contains(host, ":") {
		return "", fmt.Errorf("%q: %w", host, errForm)
	}
	return net.JoinHostPort(bare, port), nil
}
