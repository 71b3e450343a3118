package main

import (
	"bufio"
	"io"
	"strconv"
	"strings"
)

// figures are the series of /metrics (SPEC 10) that top shows.
type figures struct {
	sessions map[place]float64 // joined now
	logins   map[place]results // ever
	bytes    [2]float64        // ever: in, out
	refused  float64           // connections, ever
	store    float64           // errors of the mapping store, ever
}

// place is where sessions and logins are counted.
type place struct{ destination, protocol string }

// results of logins.
type results struct{ accepted, refused, failed float64 }

func (r results) plus(o results) results {
	return results{r.accepted + o.accepted, r.refused + o.refused, r.failed + o.failed}
}

// since is r per second after an earlier count. A proxy that was started anew in between counts from zero.
func (r results) since(o results, seconds float64) results {
	return results{rate(r.accepted, o.accepted, seconds), rate(r.refused, o.refused, seconds), rate(r.failed, o.failed, seconds)}
}

func rate(now, before, seconds float64) float64 {
	if seconds <= 0 {
		return 0
	}
	if now < before {
		before = 0
	}
	return (now - before) / seconds
}

// readFigures reads Prometheus's text form. Series that mean nothing here are passed over, and so is a line that is none.
func readFigures(r io.Reader) (figures, error) {
	f := figures{sessions: map[place]float64{}, logins: map[place]results{}}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		if name, labels, value, ok := parseSeries(lines.Text()); ok {
			f.note(name, labels, value)
		}
	}
	return f, lines.Err()
}

func (f *figures) note(name string, labels map[string]string, value float64) {
	at := place{labels["destination"], labels["protocol"]}
	switch name {
	case "mailsplice_sessions":
		f.sessions[at] += value
	case "mailsplice_logins_total":
		f.logins[at] = f.logins[at].plus(resultOf(labels["result"], value))
	case "mailsplice_bytes_total":
		f.bytes[direction(labels["direction"])] += value
	case "mailsplice_connections_refused_total":
		f.refused += value
	case "mailsplice_store_errors_total":
		f.store += value
	}
}

func resultOf(name string, n float64) results {
	switch name {
	case "accepted":
		return results{accepted: n}
	case "refused":
		return results{refused: n}
	case "unavailable":
		return results{failed: n}
	}
	return results{} // canceled: the client's own doing
}

func direction(name string) int {
	if name == "in" {
		return 0
	}
	return 1
}

// parseSeries reads a line `name{label="value",…} number`.
func parseSeries(line string) (name string, labels map[string]string, value float64, ok bool) {
	end := strings.IndexAny(line, "{ ")
	if end <= 0 || line[0] == '#' {
		return "", nil, 0, false
	}
	name, rest := line[:end], line[end:]
	labels = map[string]string{}
	if rest[0] == '{' {
		if rest, ok = parseLabels(rest[1:], labels); !ok {
			return "", nil, 0, false
		}
	}
	number, _, _ := strings.Cut(strings.TrimLeft(rest, " "), " ") // a time may follow
	value, err := strconv.ParseFloat(number, 64)
	return name, labels, value, err == nil
}

// parseLabels reads up to and including the closing brace.
func parseLabels(s string, labels map[string]string) (rest string, ok bool) {
	for {
		s = strings.TrimLeft(s, ", ")
		if after, closed := strings.CutPrefix(s, "}"); closed {
			return after, true
		}
		name, quoted, found := strings.Cut(s, `="`)
		if !found {
			return "", false
		}
		value, after, closed := labelValue(quoted)
		if !closed {
			return "", false
		}
		labels[name], s = value, after
	}
}

// labelValue reads up to and including the closing quote.
func labelValue(s string) (value, rest string, ok bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return b.String(), s[i+1:], true
		case c == '\\' && i+1 < len(s):
			i++
			if s[i] == 'n' {
				b.WriteByte('\n')
			} else {
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
