package main

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// unreachable is a proxy that could not be talked to, in words for whoever operates it.
type unreachable struct {
	at  endpoint
	err error
}

func (e *unreachable) Unwrap() error { return e.err }

func (e *unreachable) Error() string {
	return fmt.Sprintf("proxy %s: %s", e.at.name, unreachableText(e.err))
}

func unreachableText(err error) string {
	var who *untrusted
	var dns *net.DNSError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &who):
		return who.Error()
	case errors.As(err, &header), errors.Is(err, http.ErrSchemeMismatch):
		return "what answers there does not speak TLS: not the admin API, or something in between"
	case errors.As(err, &dns):
		return fmt.Sprintf("the name %q cannot be resolved: %s", dns.Name, dns.Err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return "connection refused: nothing listens there; is mailsplice running, with this [admin] bind?"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "no way there from this machine (" + cause(err) + ")"
	case errors.Is(err, context.DeadlineExceeded), isTimeout(err):
		return "no answer in time: a firewall that drops, or a proxy that hangs"
	case errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection ended without an answer; the proxy may have too many connections, or be stopping"
	}
	return cause(err)
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

// cause leaves out what net/http puts around an error: method and URL, which may hold an identifier.
func cause(err error) string {
	for inner := errors.Unwrap(err); inner != nil; inner = errors.Unwrap(err) {
		err = inner
	}
	return err.Error()
}

// untrusted is a certificate that is not known to be the proxy's. No token was sent.
type untrusted struct {
	t     *trust
	shown *x509.Certificate
	err   error // from the verification with --ca
}

func (e *untrusted) Error() string {
	if e.shown == nil {
		return e.err.Error()
	}
	shown := fmt.Sprintf("certificate %q (SHA-256 %x)", e.shown.Subject, sha256.Sum256(e.shown.Raw))
	fetch := "compare the SHA-256 with the warning in the proxy's log, fetch the certificate with\n" +
		"  openssl s_client -connect ADDRESS </dev/null | openssl x509 >proxy.pem\nand give --ca proxy.pem"
	switch {
	case e.t.roots != nil:
		return fmt.Sprintf("its %s is not vouched for by --ca: %v; the token was not sent", shown, e.err)
	case len(e.t.exact) == 0:
		return fmt.Sprintf("no certificate is configured that its %s could be compared with; the token was not sent. "+
			"Where the proxy has none it makes one at start: %s", shown, fetch)
	}
	return fmt.Sprintf("it shows another %s than %s; the token was not sent. Either the proxy has not loaded a new file yet, or it has another "+
		"configuration, or it is not the proxy. If it shows one made at start, %s", shown, strings.Join(e.t.paths, ", "), fetch)
}

// alien is something else than an admin API.
type alien struct {
	at  endpoint
	why string
}

func (e *alien) Error() string {
	return fmt.Sprintf("proxy %s: this is not the admin API of mailsplice: %s", e.at.name, e.why)
}

// refusal is an answer with another status than 200.
type refusal struct {
	at       endpoint
	status   int
	text     string
	problems []string
}

func (e *refusal) Error() string {
	lines := append([]string{fmt.Sprintf("proxy %s: %s", e.at.name, e.text)}, e.problems...)
	return strings.Join(lines, "\n  ")
}

// maxErrorBytes bounds an error's body: a configuration with thousands of problems fits.
const maxErrorBytes = 4 << 20

// refused words an answer that is no success.
func (c *client) refused(k *call, resp *http.Response) error {
	var said struct {
		Error    string   `json:"error"`
		Problems []string `json:"problems"`
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBytes))
	if err != nil {
		return &unreachable{c.at, err}
	}
	if json.Unmarshal(body, &said) != nil || said.Error == "" {
		return &alien{c.at, fmt.Sprintf("it answers %s to %s", resp.Status, k.name())}
	}
	r := &refusal{at: c.at, status: resp.StatusCode, text: printable(strings.TrimSpace(said.Error))}
	for _, p := range said.Problems {
		if p = strings.TrimSpace(p); !strings.Contains(said.Error, p) {
			r.problems = append(r.problems, printable(p))
		}
	}
	r.explain(c, k, resp)
	return r
}

// explain adds what the operator can do about it.
func (e *refusal) explain(c *client, k *call, resp *http.Response) {
	switch e.status {
	case http.StatusUnauthorized:
		e.text = fmt.Sprintf("401: it does not take the token of %s; it was started or reloaded with another one. "+
			"More tries will lock this address out for a while", c.from)
	case http.StatusTooManyRequests:
		e.text = "429: this address is locked out after too many wrong tokens; try again " + retryAfter(resp.Header.Get("Retry-After"))
	case http.StatusNotFound:
		if e.text == "no such call" {
			e.text = fmt.Sprintf("404: it does not know %s; it may be an older version than this ctl", k.name())
		}
	case http.StatusNotImplemented:
		e.text = "501: " + e.text
	case http.StatusInternalServerError:
		e.text = "500: " + e.text + "; the proxy's log says more"
	case http.StatusServiceUnavailable:
		e.text = "503: " + e.text
	}
}

func retryAfter(header string) string {
	n, err := strconv.Atoi(header)
	if err != nil || n < 0 {
		return "later"
	}
	return "in " + (time.Duration(n) * time.Second).String()
}
