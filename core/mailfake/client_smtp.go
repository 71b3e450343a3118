package mailfake

import (
	"crypto/tls"
	"fmt"
	"io"
	"strings"
)

// maxSMTPReply bounds one line of an answer with CRLF (RFC 5321 4.5.3.1.5), an AUTH challenge excepted (RFC 4954 4).
const maxSMTPReply = 512

// SMTPClient is a scripted client of Submission, SMTP or LMTP on one connection, used by one goroutine. It reads answers
// strictly: CRLF, one code on all lines of an answer, no longer than they may be. Every wait has a deadline.
type SMTPClient struct {
	*Conn
	Greeting string   // last line of the greeting, empty with Hold
	Offered  []string // capabilities of the last EHLO or LHLO, without the server's name

	hello   string // "EHLO" or "LHLO"
	greeted bool   // since the connection began or became TLS
}

// clientName is the client's own in EHLO.
const clientName = "client.example.org"

// DialSMTP connects to address:port and reads the greeting, which must be 220.
func DialSMTP(addr string, o ClientOptions) (*SMTPClient, error) { return dialSMTP(addr, o, "EHLO") }

// DialLMTP is DialSMTP for a client that says LHLO and reads one answer per recipient.
func DialLMTP(addr string, o ClientOptions) (*SMTPClient, error) { return dialSMTP(addr, o, "LHLO") }

func dialSMTP(addr string, o ClientOptions, hello string) (*SMTPClient, error) {
	conn, err := DialConn(addr, o)
	if err != nil {
		return nil, err
	}
	c := &SMTPClient{Conn: conn, hello: hello}
	if err := c.welcome(c.banner); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *SMTPClient) banner() error {
	r, err := c.Answer()
	c.Greeting = r.String()
	return refusal("connecting", r, err)
}

// Command sends one command and reads its answer. No code is an error.
func (c *SMTPClient) Command(text string) (Reply, error) {
	if err := c.Send(text); err != nil {
		return Reply{}, err
	}
	return c.Answer()
}

// Must is Command with everything but 2yz as a *Refusal.
func (c *SMTPClient) Must(text string) (Reply, error) {
	r, err := c.Command(text)
	return r, refusal(text, r, err)
}

// Pipeline sends all commands in one write and reads all answers (RFC 2920).
func (c *SMTPClient) Pipeline(commands ...string) (replies []Reply, err error) {
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

// Answer reads one answer of one or more lines.
func (c *SMTPClient) Answer() (Reply, error) { return c.answer(maxSMTPReply) }

func (c *SMTPClient) answer(limit int) (Reply, error) {
	var r Reply
	for {
		line, err := c.StrictLine(limit)
		if err != nil {
			return r, fmt.Errorf("waiting for an answer: %w", err)
		}
		code, more, text, ok := replyLine(line)
		if !ok || r.Status != "" && code != r.Status {
			return r, fmt.Errorf("got line %.60q after code %q, want a code and a text", line, r.Status)
		}
		if r.Status = code; !more {
			r.Text = text
			return r, nil
		}
		r.Untagged = append(r.Untagged, text)
	}
}

// replyLine takes a line apart (RFC 5321 4.2).
func replyLine(line string) (code string, more bool, text string, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' || line[1] < '0' || line[1] > '5' || line[2] < '0' || line[2] > '9' {
		return "", false, "", false
	}
	if len(line) == 3 {
		return line, false, "", true
	}
	return line[:3], line[3] == '-', line[4:], line[3] == '-' || line[3] == ' '
}

// Hello sends EHLO or LHLO, remembers what is offered, and wants 250. An empty name: the client's own.
func (c *SMTPClient) Hello(name string) error {
	r, err := c.Must(c.hello + " " + or(name, clientName))
	if err != nil {
		return err
	}
	lines := append(r.Untagged, r.Text)
	c.Offered, c.greeted = lines[1:], true
	return nil
}

// greet is Hello unless that was done since the connection began or became TLS.
func (c *SMTPClient) greet() error {
	if c.greeted {
		return nil
	}
	return c.Hello("")
}

// Login is AUTH PLAIN with an initial response, after EHLO if there was none.
func (c *SMTPClient) Login(user, password string) error {
	r, err := c.Authenticate("PLAIN", InitialResponse, PlainFrame("", user, password))
	return refusal("AUTH", r, err)
}

// Authenticate runs a SASL mechanism with one frame per step (RFC 4954), after EHLO if there was none. A challenge beyond
// the frames, such as the error of an OAuth mechanism, is answered by an empty line; all challenges show in Untagged,
// decoded.
func (c *SMTPClient) Authenticate(mechanism string, initial Initial, frames ...string) (Reply, error) {
	if err := c.greet(); err != nil {
		return Reply{}, err
	}
	text := "AUTH " + mechanism
	if initial != Prompted && len(frames) > 0 {
		text, frames = text+" "+initialFrame(frames[0]), frames[1:]
	}
	if err := c.Send(text); err != nil {
		return Reply{}, err
	}
	var r Reply
	_, seen, err := exchange64(frames, func() (line, challenge string, prompt bool, err error) {
		r, err = c.answer(0)
		return r.String(), r.Text, r.Status == "334", err
	}, c.Send)
	r.Untagged = append(seen, r.Untagged...)
	return r, err
}

// StartTLS sends EHLO if there was none, STARTTLS, and shakes hands. EHLO is forgotten.
func (c *SMTPClient) StartTLS(conf *tls.Config) error {
	if err := c.greet(); err != nil {
		return err
	}
	if _, err := c.Must("STARTTLS"); err != nil {
		return err
	}
	c.greeted, c.Offered = false, nil
	return c.TLS(conf)
}

// Landed says on which backend the session is: NOOP is answered by "on NAME".
func (c *SMTPClient) Landed() (string, error) {
	r, err := c.Must("NOOP")
	if err != nil {
		return "", err
	}
	return landed(strings.TrimPrefix(r.Text, "2.0.0 "))
}

// Deliver sends one message, after EHLO or LHLO if there was none; dots are doubled. The answers are those to the message:
// one, or with LMTP one for each recipient. A refused MAIL, RCPT or DATA is a *Refusal.
func (c *SMTPClient) Deliver(from string, to []string, message io.Reader) ([]Reply, error) {
	if err := c.envelope(from, to); err != nil {
		return nil, err
	}
	body := &stuffer{w: c}
	if _, err := io.CopyBuffer(body, blockwise{message}, make([]byte, bulkBlock)); err != nil {
		return nil, fmt.Errorf("sending message: %w", err)
	}
	if err := body.end(); err != nil {
		return nil, fmt.Errorf("sending message: %w", err)
	}
	return c.verdicts(len(to))
}

// DeliverRaw is Deliver with bytes as they are: raw must double its dots and have the final dot line itself.
func (c *SMTPClient) DeliverRaw(from string, to []string, raw string) ([]Reply, error) {
	if err := c.envelope(from, to); err != nil {
		return nil, err
	}
	if err := c.SendRaw(raw); err != nil {
		return nil, fmt.Errorf("sending message: %w", err)
	}
	return c.verdicts(len(to))
}

// envelope does what comes ahead of a message.
func (c *SMTPClient) envelope(from string, to []string) error {
	if err := c.greet(); err != nil {
		return err
	}
	commands := []string{"MAIL FROM:<" + from + ">"}
	for _, t := range to {
		commands = append(commands, "RCPT TO:<"+t+">")
	}
	for _, text := range commands {
		if _, err := c.Must(text); err != nil {
			return err
		}
	}
	r, err := c.Command("DATA")
	if err == nil && r.Status != "354" {
		err = &Refusal{"DATA", r}
	}
	return err
}

func (c *SMTPClient) verdicts(recipients int) (replies []Reply, err error) {
	n := 1
	if c.hello == "LHLO" {
		n = recipients
	}
	for range n {
		r, err := c.Answer()
		if err != nil {
			return replies, err
		}
		replies = append(replies, r)
	}
	return replies, nil
}

// Quit sends QUIT and wants 221.
func (c *SMTPClient) Quit() error {
	_, err := c.Must("QUIT")
	return err
}
