package mailfake

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// marked is the messages that DELE has marked.
func (p *popSession) marked() (list []*message) {
	for n := range p.gone {
		list = append(list, p.drop[n])
	}
	return list
}

// message finds the one that args name, unless it is marked.
func (p *popSession) message(args string) (n int, m *message) {
	k, err := strconv.ParseUint(args, 10, 31)
	n = int(k)
	if err != nil || n < 1 || n > len(p.drop) || p.gone[n-1] {
		return 0, nil
	}
	return n, p.drop[n-1]
}

func (p *popSession) stat(string) error {
	count, size := 0, int64(0)
	for n, m := range p.drop {
		if !p.gone[n] {
			count, size = count+1, size+m.size
		}
	}
	return p.yes(fmt.Sprintf("%d %d", count, size))
}

func (p *popSession) list(args string) error {
	return p.scan(args, func(m *message) string { return fmt.Sprint(m.size) })
}

func (p *popSession) uidl(args string) error {
	return p.scan(args, func(m *message) string { return fmt.Sprintf("m%06d", m.id) })
}

// scan answers LIST and UIDL: one line for one message, or all of them.
func (p *popSession) scan(args string, say func(*message) string) error {
	if args != "" {
		n, m := p.message(args)
		if m == nil {
			return p.no("No such message")
		}
		return p.yes(fmt.Sprintf("%d %s", n, say(m)))
	}
	var list []string
	for n, m := range p.drop {
		if !p.gone[n] {
			list = append(list, fmt.Sprintf("%d %s", n+1, say(m)))
		}
	}
	return p.lines("Messages", list)
}

func (p *popSession) retr(args string) error {
	_, m := p.message(args)
	if m == nil {
		return p.no("No such message")
	}
	return p.send(fmt.Sprintf("%d octets", m.size), m.open())
}

// top sends a message's header and its first lines.
func (p *popSession) top(args string) error {
	number, count, _ := strings.Cut(args, " ")
	_, m := p.message(number)
	k, err := strconv.ParseUint(count, 10, 31)
	if m == nil || err != nil {
		return p.no("No such message, or no count")
	}
	head := m.head()
	r := bufio.NewReader(m.open())
	_, _ = r.Discard(len(head)) // neither kind of message fails
	var body bytes.Buffer
	for ; k > 0 && body.Len() < maxStoreBytes; k-- {
		line, err := r.ReadBytes('\n')
		body.Write(line)
		if err != nil {
			break
		}
	}
	return p.send("Top of it", io.MultiReader(strings.NewReader(head), &body))
}

// send answers with a message.
func (p *popSession) send(text string, r io.Reader) error {
	if err := p.yes(text); err != nil {
		return err
	}
	w := &stuffer{w: p.writer()}
	if _, err := io.CopyBuffer(w, blockwise{r}, make([]byte, bulkBlock)); err != nil {
		return err
	}
	return w.end()
}

func (p *popSession) dele(args string) error {
	n, m := p.message(args)
	if m == nil {
		return p.no("No such message")
	}
	p.gone[n-1] = true
	return p.yes("Marked")
}

func (p *popSession) rset(string) error {
	clear(p.gone)
	return p.yes("Nothing is marked")
}
