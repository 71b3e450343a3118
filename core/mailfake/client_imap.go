package mailfake

import (
	"fmt"
	"io"
	"strings"
)

// Client is a scripted IMAP client on one connection, used by one goroutine. Every wait has a deadline.
type Client struct {
	*Conn
	Greeting string // first line, empty with Hold

	n int // tags given out
}

// Dial connects to address:port and reads the greeting.
func Dial(addr string) (*Client, error) { return DialWith(addr, ClientOptions{}) }

// DialWith is Dial with options.
func DialWith(addr string, o ClientOptions) (*Client, error) {
	conn, err := DialConn(addr, o)
	if err != nil {
		return nil, err
	}
	c := &Client{Conn: conn}
	err = c.welcome(func() error { c.Greeting, err = c.Line(); return err })
	if err != nil {
		return nil, err
	}
	return c, nil
}

// maxReplyLiteral bounds a literal that Command keeps; Fetch streams larger ones.
const maxReplyLiteral = 1 << 20

func (c *Client) tag() string {
	c.n++
	return fmt.Sprintf("a%d", c.n)
}

// Command sends one command under a fresh tag and reads its answer. NO and BAD are no errors.
func (c *Client) Command(text string) (Reply, error) {
	tag := c.tag()
	if err := c.Send(tag + " " + text); err != nil {
		return Reply{}, err
	}
	return c.Answer(tag)
}

// Must is Command with NO and BAD as a *Refusal.
func (c *Client) Must(text string) (Reply, error) {
	r, err := c.Command(text)
	return r, refusal(text, r, err)
}

// Answer reads up to the tagged answer for tag. A tag that is not awaited is an error.
func (c *Client) Answer(tag string) (Reply, error) {
	var r Reply
	for {
		line, err := c.response()
		if err != nil {
			return r, fmt.Errorf("waiting for the answer to %s: %w", tag, err)
		}
		got, rest, _ := strings.Cut(line, " ")
		switch got {
		case tag:
			r.Status, r.Text, _ = strings.Cut(rest, " ")
			return r, nil
		case "*", "+":
			r.Untagged = append(r.Untagged, line)
		default:
			return r, fmt.Errorf("waiting for the answer to %s: got %q", tag, line)
		}
	}
}

// response reads one line with its literals.
func (c *Client) response() (string, error) {
	text := ""
	for {
		line, err := c.Line()
		if err != nil {
			return text + line, err
		}
		text += line
		n, found := trailingLiteral(line)
		if !found {
			return text, nil
		}
		if n > maxReplyLiteral {
			return text, fmt.Errorf("literal of %d bytes in a reply", n)
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(c, b); err != nil {
			return text, err
		}
		text += "\r\n" + string(b)
	}
}

// trailingLiteral reads {n} at a line's end, independently of the backend's own parser.
func trailingLiteral(line string) (n int64, found bool) {
	open := strings.LastIndex(line, "{")
	if open < 0 {
		return 0, false
	}
	end := ""
	k, err := fmt.Sscanf(line[open:], "{%d%s", &n, &end)
	return n, err == nil && k == 2 && end == "}" && n >= 0
}

// Login sends LOGIN with quoted strings.
func (c *Client) Login(user, password string) error {
	_, err := c.Must("LOGIN " + Quote(user) + " " + Quote(password))
	return err
}

// Quote makes an IMAP quoted string.
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// LoginLiteral sends LOGIN with synchronising literals and waits for each prompt.
func (c *Client) LoginLiteral(user, password string) (Reply, error) {
	tag := c.tag()
	for _, part := range []string{
		fmt.Sprintf("%s LOGIN {%d}\r\n", tag, len(user)),
		fmt.Sprintf("%s {%d}\r\n", user, len(password)),
	} {
		if err := c.SendRaw(part); err != nil {
			return Reply{}, err
		}
		if _, err := c.Expect("+ "); err != nil {
			return Reply{}, err
		}
	}
	if err := c.Send(password); err != nil {
		return Reply{}, err
	}
	return c.Answer(tag)
}

// LoginLiteralPlus sends LOGIN with non-synchronising literals in one write.
func (c *Client) LoginLiteralPlus(user, password string) (Reply, error) {
	return c.Command(fmt.Sprintf("LOGIN {%d+}\r\n%s {%d+}\r\n%s", len(user), user, len(password), password))
}

// Authenticate runs a SASL mechanism with one frame per step. A challenge beyond the frames, such as the error of an
// OAuth mechanism, is answered by an empty line and shows in Untagged.
func (c *Client) Authenticate(mechanism string, initial Initial, frames ...string) (Reply, error) {
	tag := c.tag()
	line := tag + " AUTHENTICATE " + mechanism
	if initial == InitialResponse && len(frames) > 0 {
		line += " " + initialFrame(frames[0])
		frames = frames[1:]
	}
	if err := c.Send(line); err != nil {
		return Reply{}, err
	}
	var seen []string
	for {
		line, err := c.response()
		if err != nil {
			return Reply{}, err
		}
		if !strings.HasPrefix(line, "+") {
			return c.finish(tag, line, seen)
		}
		seen = append(seen, line)
		answer := ""
		if len(frames) > 0 {
			answer, frames = frame64(frames[0]), frames[1:]
		}
		if err := c.Send(answer); err != nil {
			return Reply{}, err
		}
	}
}

// finish goes on reading an answer whose first line is there already.
func (c *Client) finish(tag, line string, seen []string) (Reply, error) {
	if rest, ok := strings.CutPrefix(line, tag+" "); ok {
		r := Reply{Untagged: seen}
		r.Status, r.Text, _ = strings.Cut(rest, " ")
		return r, nil
	}
	r, err := c.Answer(tag)
	r.Untagged = append(append(seen, line), r.Untagged...)
	return r, err
}

// Idle enters IDLE; the tag is for Answer after Send("DONE").
func (c *Client) Idle() (tag string, err error) {
	tag = c.tag()
	if err := c.Send(tag + " IDLE"); err != nil {
		return tag, err
	}
	_, err = c.Expect("+")
	return tag, err
}

// Landed says on which backend the session is: the subject of the first message is "on NAME".
func (c *Client) Landed() (string, error) {
	if _, err := c.Must("EXAMINE INBOX"); err != nil {
		return "", err
	}
	r, err := c.Must("FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
	if err != nil {
		return "", err
	}
	for _, l := range r.Untagged {
		if _, after, ok := strings.Cut(l, "Subject: on "); ok {
			return strings.TrimRight(strings.FieldsFunc(after, func(r rune) bool { return r == '\r' || r == '\n' })[0], ")"), nil
		}
	}
	return "", fmt.Errorf("looking for the first message's subject: got %q", r.Untagged)
}

// Fetch streams message n of the open mailbox to w and gives its size. The message is awaited for as long as bytes keep
// coming.
func (c *Client) Fetch(n int, w io.Writer) (int64, error) {
	tag := c.tag()
	if err := c.Send(fmt.Sprintf("%s FETCH %d (BODY.PEEK[])", tag, n)); err != nil {
		return 0, err
	}
	line, err := c.Await("* " + fmt.Sprint(n) + " FETCH (")
	if err != nil {
		return 0, err
	}
	size, found := trailingLiteral(line)
	if !found {
		return 0, fmt.Errorf("fetching message %d: got %q", n, line)
	}
	if _, err := io.CopyN(w, c, size); err != nil {
		return 0, fmt.Errorf("fetching message %d: %w", n, err)
	}
	if _, err := c.Line(); err != nil { // the rest of the FETCH line
		return 0, fmt.Errorf("fetching message %d: %w", n, err)
	}
	r, err := c.Answer(tag)
	return size, refusal("FETCH", r, err)
}

// Append sends a message of exactly size bytes from r with a synchronising literal.
func (c *Client) Append(mailbox string, size int64, r io.Reader) (Reply, error) {
	tag := c.tag()
	if err := c.Send(fmt.Sprintf("%s APPEND %s {%d}", tag, mailbox, size)); err != nil {
		return Reply{}, err
	}
	if _, err := c.Await("+"); err != nil {
		return Reply{}, err
	}
	if _, err := io.CopyN(c, r, size); err != nil {
		return Reply{}, fmt.Errorf("appending to %q: %w", mailbox, err)
	}
	if err := c.Send(""); err != nil {
		return Reply{}, err
	}
	return c.Answer(tag)
}
