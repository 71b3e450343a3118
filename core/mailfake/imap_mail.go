package mailfake

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
)

func (i *imapSession) exists() int { return i.b.mail.count(i.account()) }

func (i *imapSession) selectBox(c *command) error {
	box, ok := c.word()
	if !ok || !strings.EqualFold(box.value, "INBOX") {
		i.selected = false
		return i.printf("%s NO [NONEXISTENT] Only INBOX is here", i.tag)
	}
	i.selected = true
	n := i.exists()
	mode := "[READ-WRITE]"
	if i.verb == "EXAMINE" {
		mode = "[READ-ONLY]"
	}
	return i.Write(fmt.Sprintf("* FLAGS (\\Seen \\Answered \\Deleted)\r\n* %d EXISTS\r\n* 0 RECENT\r\n"+
		"* OK [UIDVALIDITY 1] mailfake\r\n* OK [UIDNEXT %d] mailfake\r\n%s OK %s %s on %s\r\n",
		n, n+1, i.tag, mode, "INBOX", i.b.o.Name))
}

func (i *imapSession) closeBox(*command) error {
	i.selected = false
	return i.ok("Closed")
}

func (i *imapSession) status(c *command) error {
	if _, ok := c.word(); !ok {
		return i.bad("STATUS needs a mailbox")
	}
	n := i.exists()
	have := map[string]int{"MESSAGES": n, "RECENT": 0, "UNSEEN": 0, "UIDNEXT": n + 1, "UIDVALIDITY": 1}
	var out []string
	for {
		t, ok := c.next()
		if !ok {
			break
		}
		if v, known := have[strings.ToUpper(t.value)]; known {
			out = append(out, fmt.Sprintf("%s %d", strings.ToUpper(t.value), v))
		}
	}
	return i.Write(fmt.Sprintf("* STATUS INBOX (%s)\r\n%s OK Done\r\n", strings.Join(out, " "), i.tag))
}

func (i *imapSession) list(c *command) error {
	_, _ = c.word()
	pattern, ok := c.word()
	verb := i.verb
	switch {
	case !ok || pattern.value == "":
		return i.Write("* " + verb + " (\\Noselect) \"/\" \"\"\r\n" + i.tag + " OK Done\r\n")
	case strings.ContainsAny(pattern.value, "*%") || strings.EqualFold(pattern.value, "INBOX"):
		return i.Write("* " + verb + " () \"/\" INBOX\r\n" + i.tag + " OK Done\r\n")
	default:
		return i.ok("Nothing like that")
	}
}

func (i *imapSession) namespace(*command) error {
	return i.Write("* NAMESPACE ((\"\" \"/\")) NIL NIL\r\n" + i.tag + " OK Done\r\n")
}

func (i *imapSession) search(*command) error {
	var out strings.Builder
	for n := 1; n <= i.exists(); n++ {
		fmt.Fprintf(&out, " %d", n)
	}
	return i.Write("* SEARCH" + out.String() + "\r\n" + i.tag + " OK Done\r\n")
}

// fetch answers FETCH and UID FETCH; a message's UID is its number.
func (i *imapSession) fetch(c *command) error {
	set, ok := c.word()
	if !ok {
		return i.bad("FETCH needs messages")
	}
	var items []string
	for {
		t, ok := c.next()
		if !ok {
			break
		}
		if t.kind == atom {
			items = append(items, t.value)
		}
	}
	if strings.HasPrefix(i.verb, "UID") {
		items = append([]string{"UID"}, items...)
	}
	numbers, ok := expand(set.value, i.exists())
	if !ok {
		return i.bad("Invalid message set")
	}
	for _, n := range numbers {
		if err := i.fetchOne(n, items); err != nil {
			return err
		}
	}
	return i.ok("Fetched")
}

// expand lists the numbers of a message set that exist.
func expand(set string, exists int) ([]int, bool) {
	var out []int
	bound := func(s string) (int, bool) {
		if s == "*" {
			return exists, true
		}
		n, err := strconv.Atoi(s)
		return n, err == nil && n > 0
	}
	for part := range strings.SplitSeq(set, ",") {
		from, to, isRange := strings.Cut(part, ":")
		if !isRange {
			to = from
		}
		a, ok := bound(from)
		b, ok2 := bound(to)
		if !ok || !ok2 || len(out) > exists {
			return nil, false
		}
		for n := min(a, b); n <= min(max(a, b), exists); n++ {
			out = append(out, n)
		}
	}
	return out, true
}

// fetchOne writes one FETCH response, each item once.
func (i *imapSession) fetchOne(n int, items []string) error {
	m := i.b.mail.get(i.account(), n)
	if m == nil {
		return nil
	}
	head := fmt.Sprintf("* %d FETCH (", n)
	done := map[string]bool{}
	for _, item := range items {
		name := strings.Replace(strings.ToUpper(item), "BODY.PEEK[", "BODY[", 1)
		if done[name] {
			continue
		}
		done[name] = true
		text, body := fetchItem(name, n, m)
		if text == "" {
			continue
		}
		if err := i.Write(head + text); err != nil {
			return err
		}
		if body != nil {
			if err := i.copyOut(body); err != nil {
				return err
			}
		}
		head = " "
	}
	if head != " " {
		return nil
	}
	return i.Write(")\r\n")
}

// fetchItem is an item's name and value; for a body the literal's announcement, and the bytes behind it.
func fetchItem(name string, n int, m *message) (text string, body io.Reader) {
	announce := func(size int64, r io.Reader) (string, io.Reader) {
		return fmt.Sprintf("%s {%d}\r\n", name, size), r
	}
	switch {
	case name == "UID":
		return fmt.Sprintf("UID %d", n), nil
	case name == "FLAGS":
		return `FLAGS (\Seen)`, nil
	case name == "INTERNALDATE":
		return `INTERNALDATE " 1-Jan-2024 00:00:00 +0000"`, nil
	case name == "RFC822.SIZE":
		return fmt.Sprintf("RFC822.SIZE %d", m.size), nil
	case name == "BODY[]" || name == "RFC822":
		return announce(m.size, m.open())
	case name == "RFC822.HEADER" || strings.HasPrefix(name, "BODY[HEADER"):
		head := m.head()
		return announce(int64(len(head)), strings.NewReader(head))
	case name == "BODY[TEXT]":
		skip := int64(len(m.head()))
		r := m.open()
		_, _ = io.CopyN(io.Discard, r, skip)
		return announce(m.size-skip, r)
	default:
		return "", nil
	}
}

// copyOut writes everything from r.
func (i *imapSession) copyOut(r io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if err := i.writeBytes(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// append takes a message, keeps it with its checksum, and tells idling sessions of the account.
func (i *imapSession) append(c *command) error {
	_, n, plus, found := literalAt(c.text)
	if !found {
		return i.bad("APPEND needs a message")
	}
	if !i.b.mail.reserve(n) {
		_ = i.printf("%s NO [OVERQUOTA] Too large", i.tag)
		return errEnd // a non-synchronising literal would follow
	}
	data, err := i.readLiteral(n, plus)
	if err != nil {
		return err
	}
	if _, err := i.line(); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	account := i.account()
	number := i.b.mail.add(account, data)
	i.b.update(func() {
		i.b.counts.Appended++
		i.b.appends = append(i.b.appends, Append{account, n, hex.EncodeToString(sum[:])})
	})
	i.b.Notify(account)
	return i.ok(fmt.Sprintf("[APPENDUID 1 %d] sha256=%x", number, sum))
}

// idle waits for DONE; Notify writes meanwhile.
func (i *imapSession) idle(*command) error {
	if err := i.Write("+ idling on " + i.b.o.Name + "\r\n"); err != nil {
		return err
	}
	i.setIdling(true)
	line, err := i.line()
	i.setIdling(false)
	if err != nil {
		return err
	}
	if !strings.EqualFold(line, "DONE") {
		return i.bad("Expected DONE")
	}
	return i.ok("Idle is over")
}

func (i *imapSession) setIdling(on bool) { i.b.update(func() { i.idling = on }) }
