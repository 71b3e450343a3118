package dialogtest

import (
	"bytes"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"mailsplice/protocols/dialog"
)

var outcomes = map[string]dialog.Outcome{
	"accepted": dialog.Accepted, "refused": dialog.Refused, "unavailable": dialog.Unavailable,
}

var methods = map[dialog.Method]string{
	dialog.Password: "password", dialog.OAuthBearer: "oauthbearer", dialog.XOAuth2: "xoauth2",
}

// parseVerdict reads "accepted before=… OK answer".
func parseVerdict(text string) (dialog.Verdict, error) {
	word, rest, _ := strings.Cut(text, " ")
	v := dialog.Verdict{Outcome: outcomes[word]}
	if v.Outcome == 0 {
		return v, fmt.Errorf("outcome %q, allowed accepted refused unavailable", word)
	}
	for {
		key, value, after, ok := cutOption(rest)
		if !ok {
			v.Answer = []byte(rest)
			return v, nil
		}
		switch key {
		case "before":
			v.Before = []byte(value)
		case "capabilities":
			v.Capabilities = []byte(value)
		case "forwarding":
			v.ForwardingIgnored = value == "ignored"
		case "login":
			v.NotOffered = value == "notoffered"
		}
		rest = after
	}
}

// cutOption cuts one leading option of a verdict off text.
func cutOption(text string) (key, value, rest string, ok bool) {
	key, after, found := strings.Cut(text, "=")
	if !found || key != "before" && key != "capabilities" && key != "forwarding" && key != "login" {
		return "", "", text, false
	}
	value, rest, err := cutValue(after)
	return key, value, rest, err == nil
}

// cutValue cuts a quoted value or a word off text, and the blank behind it.
func cutValue(text string) (value, rest string, err error) {
	if !strings.HasPrefix(text, `"`) {
		value, rest, _ = strings.Cut(text, " ")
		return value, rest, nil
	}
	quoted, err := strconv.QuotedPrefix(text)
	if err != nil {
		return "", text, fmt.Errorf("value %q: %w", text, err)
	}
	value, err = strconv.Unquote(quoted)
	return value, strings.TrimPrefix(text[len(quoted):], " "), err
}

// formatVerdict is the inverse of parseVerdict.
func formatVerdict(v *dialog.Verdict) string {
	var b strings.Builder
	for name, o := range outcomes {
		if o == v.Outcome {
			b.WriteString(name)
		}
	}
	if len(v.Before) > 0 {
		b.WriteString(" before=" + strconv.Quote(string(v.Before)))
	}
	if len(v.Capabilities) > 0 {
		b.WriteString(" capabilities=" + strconv.Quote(string(v.Capabilities)))
	}
	if v.ForwardingIgnored {
		b.WriteString(" forwarding=ignored")
	}
	if v.NotOffered {
		b.WriteString(" login=notoffered")
	}
	if len(v.Answer) > 0 {
		b.WriteString(" " + string(v.Answer))
	}
	return b.String()
}

// formatLogin is the canonical text of a login, credentials included: they are made up.
func formatLogin(l *dialog.Login) string {
	var fields []string
	add := func(key, value string) {
		if value != "" {
			fields = append(fields, key+"="+quoteWord(value))
		}
	}
	add("method", methods[l.Method])
	add("identifier", l.Identifier)
	add("authcid", string(l.AuthcID))
	add("authzid", string(l.AuthzID))
	add("password", string(l.Password))
	add("frame", string(l.Frame))
	add("hello", l.Hello)
	if l.UTF8 {
		add("utf8", "true")
	}
	for _, f := range l.ClientID {
		if f.Null {
			fields = append(fields, "id."+quoteWord(f.Name))
		} else {
			fields = append(fields, "id."+quoteWord(f.Name)+"="+quoteWord(f.Value))
		}
	}
	if a := l.Announced; a != nil {
		fields = append(fields, formatAnnounced(a)...)
	}
	return "login " + strings.Join(fields, " ")
}

// formatAnnounced lists what a trusted peer said about the client.
func formatAnnounced(a *dialog.Announced) []string {
	var fields []string
	if a.Client.IsValid() {
		fields = append(fields, "announced.client="+a.Client.String())
	}
	if a.Local.IsValid() {
		fields = append(fields, "announced.local="+a.Local.String())
	}
	if a.Session != "" {
		fields = append(fields, "announced.session="+quoteWord(a.Session))
	}
	if a.TTLSeen {
		fields = append(fields, "announced.ttl="+strconv.Itoa(a.TTL))
	}
	if a.TransportSeen {
		fields = append(fields, "announced.tls="+strconv.FormatBool(a.TLS))
	}
	if fields == nil {
		fields = []string{"announced"}
	}
	return fields
}

// loginOrder puts the fields of a login in the order of formatLogin; id fields keep their own among themselves.
var loginOrder = []string{"method", "identifier", "authcid", "authzid", "password", "frame", "hello", "utf8", "id.", "announced",
	"announced.client", "announced.local", "announced.session", "announced.ttl", "announced.tls"}

// canonicalLogin reads the fields of a login as written and puts them into the form of formatLogin.
func canonicalLogin(text string) (string, error) {
	type field struct {
		text string
		rank int
	}
	var fields []field
	for text != "" {
		name, rest, err := cutName(text)
		if err != nil {
			return "", err
		}
		rank := loginRank(name)
		if rank < 0 {
			return "", fmt.Errorf("login field %q is unknown", name)
		}
		shown := quoteName(name)
		if after, ok := strings.CutPrefix(rest, "="); ok {
			var value string
			if value, rest, err = cutValue(after); err != nil {
				return "", err
			}
			shown += "=" + quoteWord(value)
		}
		fields = append(fields, field{shown, rank})
		text = strings.TrimPrefix(rest, " ")
	}
	sort.SliceStable(fields, func(i, j int) bool { return fields[i].rank < fields[j].rank })
	out := make([]string, len(fields))
	for i, f := range fields {
		out[i] = f.text
	}
	return "login " + strings.Join(out, " "), nil
}

// cutName cuts the name of a login field off text; an id name may be quoted behind its "id.".
func cutName(text string) (name, rest string, err error) {
	if quoted, ok := strings.CutPrefix(text, `id."`); ok {
		q, err := strconv.QuotedPrefix(`"` + quoted)
		if err != nil {
			return "", "", fmt.Errorf("field name %q: %w", text, err)
		}
		name, err = strconv.Unquote(q)
		return "id." + name, text[len("id.")+len(q):], err
	}
	end := strings.IndexAny(text, "= ")
	if end < 0 {
		end = len(text)
	}
	return text[:end], text[end:], nil
}

// loginRank is the place of a field in loginOrder, or -1.
func loginRank(name string) int {
	for i, known := range loginOrder {
		if name == known || known == "id." && strings.HasPrefix(name, known) {
			return i
		}
	}
	return -1
}

// quoteName quotes the part of an id name that needs it.
func quoteName(name string) string {
	if id, ok := strings.CutPrefix(name, "id."); ok {
		return "id." + quoteWord(id)
	}
	return name
}

// quoteWord quotes s unless it can stand as a word of its own.
func quoteWord(s string) string {
	if s == "" || strings.ContainsAny(s, " \"=\\") || !printable([]byte(s)) {
		return strconv.Quote(s)
	}
	return s
}

// quoteText quotes b unless it can stand as the rest of a line.
func quoteText(b []byte) string {
	if len(b) == 0 || b[0] == '"' || b[0] == ' ' || b[len(b)-1] == ' ' || !printable(b) {
		return strconv.Quote(string(b))
	}
	return string(b)
}

// unquote reads a TEXT.
func unquote(text string) ([]byte, error) {
	if !strings.HasPrefix(text, `"`) {
		return []byte(text), nil
	}
	s, err := strconv.Unquote(text)
	if err != nil {
		return nil, fmt.Errorf("text %q: %w", text, err)
	}
	return []byte(s), nil
}

// printable reports whether b is ASCII without control characters.
func printable(b []byte) bool {
	return bytes.IndexFunc(b, func(r rune) bool { return r < ' ' || r > '~' }) < 0
}

// formatSaid renders bytes that the machine wrote as lines of a transcript.
func formatSaid(letter byte, t said) []string {
	mark := string(letter)
	if t.secret {
		mark += "*"
	}
	var lines []string
	for _, part := range bytes.SplitAfter(t.write, []byte("\r\n")) {
		text, whole := bytes.CutSuffix(part, []byte("\r\n"))
		switch {
		case len(part) == 0:
		case whole && printable(text) && !bytes.HasSuffix(text, []byte(" ")):
			lines = append(lines, strings.TrimSuffix(mark+": "+string(text), " "))
		default:
			lines = append(lines, mark+"~ "+escape(part))
		}
	}
	return lines
}

// escape writes b as the text of a ~ line. A trailing blank becomes \x20, since editors cut it.
func escape(b []byte) string {
	end := len(bytes.TrimSuffix(b, []byte("\r\n")))
	var s strings.Builder
	for i, c := range b {
		switch {
		case c == '\r':
			s.WriteString(`\r`)
		case c == '\n':
			s.WriteString(`\n`)
		case c == '\\':
			s.WriteString(`\\`)
		case c < ' ' || c > '~' || c == ' ' && i == end-1:
			fmt.Fprintf(&s, `\x%02x`, c)
		default:
			s.WriteByte(c)
		}
	}
	return s.String()
}
