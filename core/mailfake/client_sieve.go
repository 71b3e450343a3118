package mailfake

import (
	"crypto/tls"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// SieveClient is a scripted ManageSieve client on one connection, used by one goroutine. It reads answers strictly: CRLF,
// and OK, NO or BYE. Every wait has a deadline.
type SieveClient struct {
	*Conn
	Greeting string // the OK of the greeting, empty with Hold
	// Offered is the last capability block: of the greeting, of StartTLS or of Capabilities; a line a piece, as it came.
	Offered []string
}

// DialSieve connects to address:port and reads the capabilities, which must end in OK.
func DialSieve(addr string, o ClientOptions) (*SieveClient, error) {
	conn, err := DialConn(addr, o)
	if err != nil {
		return nil, err
	}
	c := &SieveClient{Conn: conn}
	if err := c.welcome(c.banner); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *SieveClient) banner() error {
	r, err := c.Answer()
	c.Greeting, c.Offered = r.String(), r.Untagged
	return refusal("connecting", r, err)
}

// Command sends one command and reads its answer. NO and BYE are no errors.
func (c *SieveClient) Command(text string) (Reply, error) {
	if err := c.Send(text); err != nil {
		return Reply{}, err
	}
	return c.Answer()
}

// Must is Command with NO and BYE as a *Refusal.
func (c *SieveClient) Must(text string) (Reply, error) {
	r, err := c.Command(text)
	return r, refusal(text, r, err)
}

// Pipeline sends all commands in one write and reads all answers.
func (c *SieveClient) Pipeline(commands ...string) (replies []Reply, err error) {
	if err := c.SendRaw(strings.Join(commands, "\r\n") + "\r\n"); err != nil {
		return nil, err
	}
	for range commands {
		r, err := c.Answer()
		if err != nil {
			return replies, err
		}
		replies = append(replies, r)
	}
	return replies, nil
}

// Answer reads lines up to OK, NO or BYE; those before it must begin with a string.
func (c *SieveClient) Answer() (Reply, error) {
	var r Reply
	for {
		line, err := c.response()
		if err != nil {
			return r, fmt.Errorf("waiting for an answer: %w", err)
		}
		if done, err := r.sieve(line); done || err != nil {
			return r, err
		}
	}
}

// sieve takes one line into a reply; done: it was the last one.
func (r *Reply) sieve(line string) (done bool, err error) {
	status, text, _ := strings.Cut(line, " ")
	switch {
	case status == "OK" || status == "NO" || status == "BYE":
		r.Status, r.Text = status, text
		return true, nil
	case strings.HasPrefix(line, `"`) || strings.HasPrefix(line, "{"):
		r.Untagged = append(r.Untagged, line)
		return false, nil
	default:
		return false, fmt.Errorf("got line %.60q, want a string, OK, NO or BYE", line)
	}
}

// response reads one line with its literals.
func (c *SieveClient) response() (string, error) {
	text := ""
	for {
		line, err := c.StrictLine(0)
		text += line
		if err != nil {
			return text, err
		}
		n, found := trailingLiteral(line)
		if !found {
			return text, nil
		}
		if n > maxReplyLiteral {
			return text, fmt.Errorf("literal of %d bytes in a reply; GetScript streams", n)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c, b); err != nil {
			return text, err
		}
		text += "\r\n" + string(b)
	}
}

// Capabilities asks for them anew.
func (c *SieveClient) Capabilities() error {
	r, err := c.Must("CAPABILITY")
	c.Offered = r.Untagged
	return err
}

// Login is AUTHENTICATE PLAIN with an initial response.
func (c *SieveClient) Login(user, password string) error {
	r, err := c.Authenticate("PLAIN", InitialResponse, PlainFrame("", user, password))
	return refusal("AUTHENTICATE", r, err)
}

// Authenticate runs a SASL mechanism with one frame per step (RFC 5804 2.1). A challenge beyond the frames, such as the
// error of an OAuth mechanism, is answered by an empty string; all challenges show in Untagged, decoded.
func (c *SieveClient) Authenticate(mechanism string, initial Initial, frames ...string) (Reply, error) {
	text := "AUTHENTICATE " + Quote(mechanism)
	if initial != Prompted && len(frames) > 0 {
		first := initialFrame(frames[0])
		if frames = frames[1:]; initial == InitialLiteral {
			text += fmt.Sprintf(" {%d+}\r\n%s", len(first), first)
		} else {
			text += " " + Quote(first)
		}
	}
	if err := c.Send(text); err != nil {
		return Reply{}, err
	}
	last, seen, err := exchange64(frames, c.challenge, func(s string) error { return c.Send(Quote(s)) })
	if err != nil {
		return Reply{Untagged: seen}, err
	}
	r := Reply{Untagged: seen}
	done, err := r.sieve(last)
	if !done && err == nil {
		err = fmt.Errorf("got line %.60q, want a challenge, OK, NO or BYE", last)
	}
	return r, err
}

// challenge reads a line that may be a string and nothing else.
func (c *SieveClient) challenge() (line, challenge string, prompt bool, err error) {
	if line, err = c.response(); err != nil {
		return line, "", false, err
	}
	if announced, text, ok := strings.Cut(line, "\r\n"); ok && strings.HasPrefix(announced, "{") {
		return line, text, true, nil
	}
	challenge, ok := strings.CutPrefix(line, `"`)
	challenge, ok2 := strings.CutSuffix(challenge, `"`)
	return line, challenge, ok && ok2 && !strings.Contains(challenge, `"`), nil
}

// StartTLS sends STARTTLS, shakes hands and reads the capabilities that come by themselves (RFC 5804 2.2).
func (c *SieveClient) StartTLS(conf *tls.Config) error {
	if _, err := c.Must("STARTTLS"); err != nil {
		return err
	}
	if err := c.TLS(conf); err != nil {
		return err
	}
	r, err := c.Answer()
	c.Offered = r.Untagged
	return refusal("STARTTLS", r, err)
}

// Landed says on which backend the session is: NOOP is answered by "on NAME".
func (c *SieveClient) Landed() (string, error) {
	r, err := c.Must("NOOP")
	if err != nil {
		return "", err
	}
	return landed(strings.Trim(r.Text, `"`))
}

// landed takes the name out of a NOOP's text.
func landed(text string) (string, error) {
	if name, ok := strings.CutPrefix(text, "on "); ok {
		return name, nil
	}
	return "", fmt.Errorf("NOOP was answered %q, want a backend's name", text)
}

// PutScript stores a script of exactly size bytes from r, sent as a literal.
func (c *SieveClient) PutScript(name string, size int64, r io.Reader) (Reply, error) {
	if err := c.Send(fmt.Sprintf("PUTSCRIPT %s {%d+}", Quote(name), size)); err != nil {
		return Reply{}, err
	}
	if _, err := io.CopyN(c, r, size); err != nil {
		return Reply{}, fmt.Errorf("storing script %q: %w", name, err)
	}
	if err := c.Send(""); err != nil {
		return Reply{}, err
	}
	return c.Answer()
}

// GetScript streams a script to w and gives its size.
func (c *SieveClient) GetScript(name string, w io.Writer) (int64, error) {
	if err := c.Send("GETSCRIPT " + Quote(name)); err != nil {
		return 0, err
	}
	line, err := c.StrictLine(0)
	if err != nil {
		return 0, err
	}
	size, found := trailingLiteral(line)
	if !found {
		var r Reply
		if done, _ := r.sieve(line); !done || r.OK() {
			return 0, fmt.Errorf("fetching script %q: got %.60q", name, line)
		}
		return 0, &Refusal{"GETSCRIPT", r}
	}
	if _, err := io.CopyN(w, c, size); err != nil {
		return 0, fmt.Errorf("fetching script %q: %w", name, err)
	}
	line, err = c.StrictLine(0)
	if err == nil && line != "" {
		err = fmt.Errorf("got %.60q behind it", line)
	}
	if err != nil {
		return 0, fmt.Errorf("fetching script %q: %w", name, err)
	}
	r, err := c.Answer()
	return size, refusal("GETSCRIPT", r, err)
}

// SetActive makes one script the active one, or none when name is empty.
func (c *SieveClient) SetActive(name string) error {
	_, err := c.Must("SETACTIVE " + Quote(name))
	return err
}

// DeleteScript removes a script.
func (c *SieveClient) DeleteScript(name string) error {
	_, err := c.Must("DELETESCRIPT " + Quote(name))
	return err
}

// ListScripts is the names of all scripts, and the active one's or empty.
func (c *SieveClient) ListScripts() (names []string, active string, err error) {
	r, err := c.Must("LISTSCRIPTS")
	for _, l := range r.Untagged {
		quoted, isActive := strings.CutSuffix(l, " ACTIVE")
		name, bad := strconv.Unquote(quoted) // a superset of the two escapes there are
		if bad != nil {
			return names, active, fmt.Errorf("listing scripts: got %q", l)
		}
		names = append(names, name)
		if isActive {
			active = name
		}
	}
	return names, active, err
}

// Quit sends LOGOUT and wants OK.
func (c *SieveClient) Quit() error {
	_, err := c.Must("LOGOUT")
	return err
}
