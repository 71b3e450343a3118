package naive

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
)

const (
	lineBytes    = 4 << 10
	capabilities = "IMAP4rev1 SASL-IR LITERAL+ ID"
)

var errLogout = errors.New("client has logged out")

// join is two legs that have become one, and what was read ahead from each of them.
type join struct {
	client, backend net.Conn
	fromClient      []byte // for the backend
	fromBackend     []byte // for the client
}

// dialogue answers until a backend has accepted a login. The client knows the verdict then.
func (p *Proxy) dialogue(c net.Conn) (*join, error) {
	in := bufio.NewReaderSize(c, lineBytes)
	if _, err := fmt.Fprintf(c, "* OK [CAPABILITY %s] ready\r\n", capabilities); err != nil {
		return nil, err
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		tag, rest, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
		verb, args, _ := strings.Cut(rest, " ")
		switch strings.ToUpper(verb) {
		case "LOGIN":
			j, refusal, err := p.login(tag, args)
			if err != nil {
				return nil, err
			}
			if j == nil {
				fmt.Fprintf(c, "%s\r\n", refusal)
				continue
			}
			j.client = c
			j.fromClient, _ = in.Peek(in.Buffered())
			return j, nil
		case "CAPABILITY":
			fmt.Fprintf(c, "* CAPABILITY %s\r\n%s OK done\r\n", capabilities, tag)
		case "NOOP":
			fmt.Fprintf(c, "%s OK done\r\n", tag)
		case "LOGOUT":
			fmt.Fprintf(c, "* BYE\r\n%s OK done\r\n", tag)
			return nil, errLogout
		default:
			fmt.Fprintf(c, "%s BAD unknown\r\n", tag)
		}
	}
}

// login replays a LOGIN. A backend that says no yields its answer and no join.
func (p *Proxy) login(tag, args string) (j *join, refusal string, err error) {
	account, _, _ := strings.Cut(args, " ")
	b, err := p.dial(account)
	if err != nil {
		return nil, tag + " NO [UNAVAILABLE] Try again later.", nil
	}
	answer, rest, err := replay(b, tag, args)
	if err != nil {
		b.Close()
		return nil, "", err
	}
	if !strings.HasPrefix(answer, tag+" OK") {
		b.Close()
		return nil, answer, nil
	}
	return &join{backend: b, fromBackend: append([]byte(answer+"\r\n"), rest...)}, "", nil
}

// replay reads the greeting, logs in and returns the tagged answer and what came behind it.
func replay(b net.Conn, tag, args string) (answer string, rest []byte, err error) {
	in := bufio.NewReaderSize(b, lineBytes)
	if _, err := in.ReadSlice('\n'); err != nil {
		return "", nil, err
	}
	if _, err := fmt.Fprintf(b, "%s LOGIN %s\r\n", tag, args); err != nil {
		return "", nil, err
	}
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return "", nil, err
		}
		if answer = strings.TrimRight(string(line), "\r\n"); strings.HasPrefix(answer, tag+" ") {
			rest, _ := in.Peek(in.Buffered())
			return answer, rest, nil
		}
	}
}

// flush sends what was read ahead.
func (j *join) flush() error {
	if _, err := j.client.Write(j.fromBackend); err != nil {
		return err
	}
	if len(j.fromClient) == 0 {
		return nil
	}
	_, err := j.backend.Write(j.fromClient)
	return err
}

// writeOnly and readOnly hide ReadFrom and WriteTo, so that io.CopyBuffer uses the buffer that it is given.
type (
	writeOnly struct{ io.Writer }
	readOnly  struct{ io.Reader }
)
