package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bounds of one call.
const (
	dialTimeout    = 5 * time.Second
	callTimeout    = 60 * time.Second // the proxy itself gives up after 30 s
	exportTimeout  = 30 * time.Minute // of millions of mappings over a slow line
	maxAnswerBytes = 64 << 20         // of an answer that is held in memory: 100,000 sessions are about 40 MiB
)

// client talks to one proxy's admin API (SPEC 8).
type client struct {
	at    endpoint
	from  string // where the token comes from, for error texts
	token string
	http  *http.Client
}

func newClient(at endpoint, a *access) *client {
	return &client{at: at, from: a.from, token: a.token, http: httpsClient(at, a.trust.tls)}
}

// httpsClient connects to the endpoint whatever a request's URL says, and keeps connections for `top`.
func httpsClient(at endpoint, policy func(host string) *tls.Config) *http.Client {
	t := &http.Transport{MaxIdleConns: 2, IdleConnTimeout: 30 * time.Second, TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: callTimeout}
	t.DialTLSContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		raw, host, err := at.connect(ctx, network)
		if err != nil {
			return nil, err
		}
		conn := tls.Client(raw, policy(host))
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		return conn, nil
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// connect tries the addresses in order.
func (e endpoint) connect(ctx context.Context, network string) (conn net.Conn, host string, err error) {
	var d net.Dialer
	for _, addr := range e.dial {
		conn, err = d.DialContext(ctx, network, addr)
		if err == nil {
			host, _, err = net.SplitHostPort(addr)
			return conn, host, err
		}
	}
	return nil, "", err
}

func (c *client) close() { c.http.CloseIdleConnections() }

// params are name, value, name, value of a query. A pair with an empty value is left out.
type params []string

// String percent-encodes everything but letters, digits and the marks that mean nothing in a query: the API takes `+` for
// a plus (SPEC 8).
func (p params) String() string {
	var b strings.Builder
	for i := 0; i+1 < len(p); i += 2 {
		if p[i+1] != "" {
			b.WriteByte("?&"[min(b.Len(), 1)])
			b.WriteString(p[i] + "=" + strings.ReplaceAll(url.QueryEscape(p[i+1]), "+", "%20"))
		}
	}
	return b.String()
}

// call is one request.
type call struct {
	method, path string
	query        params
	body         io.Reader
}

// name is the call as an error text names it.
func (k *call) name() string { return k.method + " " + k.path }

// open sends a request and gives the answer's body to read, whose Close is the caller's, as long as ctx lasts. Any status
// but 200 is an error.
func (c *client) open(ctx context.Context, k call) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, k.method, "https://"+c.at.name+k.path+k.query.String(), k.body)
	if err != nil {
		return nil, fmt.Errorf("asking %s: %w", c.at.name, err)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	if k.body != nil {
		req.Header.Set("Content-Type", "text/tab-separated-values")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &unreachable{c.at, err}
	}
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer resp.Body.Close()
	return nil, c.refused(&k, resp)
}

// ask sends a request and returns its answer, which is JSON.
func (c *client) ask(ctx context.Context, k call) (json.RawMessage, error) {
	text, err := c.text(ctx, k)
	if err != nil {
		return nil, err
	}
	if !json.Valid(text) {
		return nil, &alien{c.at, "its answer is not JSON"}
	}
	return text, nil
}

// text sends a request and returns its answer.
func (c *client) text(ctx context.Context, k call) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	body, err := c.open(ctx, k)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxAnswerBytes+1))
	if err != nil {
		return nil, &unreachable{c.at, err}
	}
	if len(text) > maxAnswerBytes {
		return nil, fmt.Errorf("proxy %s: %s: an answer of more than %d bytes; a --limit makes it smaller", c.at.name, k.name(), maxAnswerBytes)
	}
	return text, nil
}

// decode reads an answer into v.
func decode[T any](raw json.RawMessage) (v T, err error) {
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("reading the answer: %w", err)
	}
	return v, nil
}
