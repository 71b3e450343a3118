package mailfake

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"strings"
)

// maxPOP3Reply bounds an answer's first line with CRLF (RFC 2449 4); challenges may be longer.
const maxPOP3Reply = 512

// POP3Client is a scripted POP3 client on one connection, used by one goroutine. It reads answers strictly: CRLF, +OK or
// -ERR, no longer than they may be. Every wait has a deadline.
type POP3Client struct {
	*Conn
	Greeting string // the banner, empty with Hold
}

// DialPOP3 connects to address:port and reads the banner, which must be +OK.
func DialPOP3(addr string, o ClientOptions) (*POP3Client, error) {
	conn, err := DialConn(addr, o)
	if err != nil {
		return nil, err
	}
	c := &POP3Client{Conn: conn}
	if err := c.welcome(c.banner); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *POP3Client) banner() error {
	r, err := c.Answer()
	c.Greeting = r.String()
	return refusal("connecting", r, err)
}

// Command sends one command and reads its answer, with the list behind it where there is one. -ERR is no error.
func (c *POP3Client) Command(text string) (Reply, error) {
	if err := c.Send(text); err != nil {
		return Reply{}, err
	}
	return c.answerTo(text)
}

// Must is Command with -ERR as a *Refusal.
func (c *POP3Client) Must(text string) (Reply, error) {
	r, err := c.Command(text)
	return r, refusal(text, r, err)
}

// Pipeline sends all commands in one write and reads all answers (RFC 2449 6.6).
func (c *POP3Client) Pipeline(commands ...string) (replies []Reply, err error) {
	if err := c.SendRaw(strings.Join(commands, "\r\n") + "\r\n"); err != nil {
		return nil, err
	}
	for _, text := range commands {
		r, err := c.answerTo(text)
		if err != nil {
			return replies, err
		}
		replies = append(replies, r)
	}
	return replies, nil
}

// Answer reads one line that is +OK or -ERR.
func (c *POP3Client) Answer() (Reply, error) {
	line, err := c.StrictLine(maxPOP3Reply)
	if err != nil {
		return Reply{}, fmt.Errorf("waiting for an answer: %w", err)
	}
	return popReply(line)
}

func popReply(line string) (Reply, error) {
	status, text, _ := strings.Cut(line, " ")
	if status != "+OK" && status != "-ERR" {
		return Reply{}, fmt.Errorf("got line %.60q, want +OK or -ERR", line)
	}
	return Reply{Status: status, Text: text}, nil
}

func (c *POP3Client) answerTo(text string) (Reply, error) {
	r, err := c.Answer()
	if err != nil || !r.OK() || !listFollows(text) {
		return r, err
	}
	r.Untagged, err = c.list()
	return r, err
}

// listFollows says whether +OK to a command is followed by a list.
func listFollows(command string) bool {
	verb, args, _ := strings.Cut(strings.ToUpper(command), " ")
	switch verb {
	case "CAPA", "RETR", "TOP":
		return true
	case "LIST", "UIDL", "AUTH":
		return args == ""
	default:
		return false
	}
}

// list reads lines up to a dot.
func (c *POP3Client) list() (list []string, err error) {
	for size := 0; size < maxReplyLiteral; {
		line, err := c.StrictLine(0)
		if err != nil {
			return list, err
		}
		if line == "." {
			return list, nil
		}
		list = append(list, strings.TrimPrefix(line, "."))
		size += len(line) + 2
	}
	return list, fmt.Errorf("list of more than %d bytes; Retrieve streams", maxReplyLiteral)
}

// Login sends USER and PASS.
func (c *POP3Client) Login(user, password string) error {
	r, err := c.UserPass(user, password)
	return refusal("PASS", r, err)
}

// UserPass is Login with the answer, to USER if that was refused.
func (c *POP3Client) UserPass(user, password string) (Reply, error) {
	r, err := c.Command("USER " + user)
	if err != nil || !r.OK() {
		return r, err
	}
	return c.Command("PASS " + password)
}

// Authenticate runs a SASL mechanism with one frame per step (RFC 5034). A challenge beyond the frames, such as the error
// of an OAuth mechanism, is answered by an empty line; all challenges show in Untagged, decoded.
func (c *POP3Client) Authenticate(mechanism string, initial Initial, frames ...string) (Reply, error) {
	text := "AUTH " + mechanism
	if initial != Prompted && len(frames) > 0 {
		text, frames = text+" "+initialFrame(frames[0]), frames[1:]
	}
	if err := c.Send(text); err != nil {
		return Reply{}, err
	}
	last, seen, err := exchange64(frames, func() (line, challenge string, prompt bool, err error) {
		line, err = c.StrictLine(0)
		challenge, prompt = strings.CutPrefix(line, "+ ")
		return line, challenge, prompt, err
	}, c.Send)
	if err != nil {
		return Reply{Untagged: seen}, err
	}
	r, err := popReply(last)
	r.Untagged = seen
	return r, err
}

// StartTLS sends STLS and shakes hands.
func (c *POP3Client) StartTLS(conf *tls.Config) error {
	if _, err := c.Must("STLS"); err != nil {
		return err
	}
	return c.TLS(conf)
}

// Landed says on which backend the session is: the subject of the first message is "on NAME".
func (c *POP3Client) Landed() (string, error) {
	r, err := c.Must("TOP 1 0")
	if err != nil {
		return "", err
	}
	const subject = "Subject: on "
	if l := r.Find(subject); l != "" {
		return l[len(subject):], nil
	}
	return "", fmt.Errorf("looking for the first message's subject: got %q", r.Untagged)
}

// Retrieve streams message n to w, dots undone, and gives its size. It is awaited for as long as bytes keep coming.
func (c *POP3Client) Retrieve(n int, w io.Writer) (size int64, err error) {
	text := fmt.Sprintf("RETR %d", n)
	if err := c.Send(text); err != nil {
		return 0, err
	}
	if r, err := c.Answer(); err != nil || !r.OK() {
		return 0, refusal(text, r, err)
	}
	out := bufio.NewWriterSize(w, bulkBlock)
	for {
		line, err := c.StrictLine(0)
		if err != nil {
			return size, fmt.Errorf("retrieving message %d: %w", n, err)
		}
		if line == "." {
			return size, out.Flush()
		}
		k, err := out.WriteString(strings.TrimPrefix(line, "."))
		if size += int64(k) + 2; err == nil {
			_, err = out.WriteString("\r\n")
		}
		if err != nil {
			return size, err
		}
	}
}

// Quit sends QUIT and wants +OK.
func (c *POP3Client) Quit() error {
	_, err := c.Must("QUIT")
	return err
}
