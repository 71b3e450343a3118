package imap

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/dialog/dialogtest"
)

// fuzzBackends are the ways in which the fuzzer sets a machine up, by their number.
var fuzzBackends = [][]dialogtest.Option{
	nil,
	{{Key: "starttls"}, {Key: "forward", Value: "192.0.2.7:40000 198.51.100.1:143 s1 6 TLS"}, {Key: "id", Value: "name x"}},
	{{Key: "hide"}, {Key: "authcid", Value: `"j\xc3\xb6rg"`}, {Key: "password", Value: `"p\xc3\xa4ss"`}, {Key: "maxline", Value: "200"}},
	{{Key: "authcid", Value: "master"}, {Key: "authzid", Value: "alice"}, {Key: "maxbytes", Value: "300"}},
	{{Key: "method", Value: "xoauth2"}, {Key: "frame", Value: `"user=alice\x01auth=Bearer tok\x01\x01"`}},
	{{Key: "method", Value: "oauthbearer"}, {Key: "repeat-frame", Value: "9000"}, {Key: "starttls"}},
}

// maxBackendOutput bounds what one login writes: the frame of 9000 bytes in base64, ID, commands, two answers to
// challenges as long as the fuzzer likes.
const maxBackendOutput = 32 << 10

// FuzzBackendSide lets a backend say anything, in any order with anything that can happen outside.
func FuzzBackendSide(f *testing.F) {
	for _, s := range backends.Seeds(f, "testdata/backend-*.txt") {
		setting := slices.IndexFunc(fuzzBackends, func(o []dialogtest.Option) bool { return hasOptions(s.Options, o) })
		f.Add(uint8(max(setting, 0)), s.Data)
	}
	f.Fuzz(func(t *testing.T, setting uint8, data []byte) {
		options := fuzzBackends[int(setting)%len(fuzzBackends)]
		newMachine := func() dialog.Machine { return newBackend(t, options) }
		dialogtest.Fuzz(t, newMachine, data, dialogtest.FuzzOptions{
			MaxOutput: maxBackendOutput + 3*len(data),
			OnAction:  func(s dialogtest.Seen) error { return judgeBackend(s, options) },
			Held:      heldByBackend,
			MaxHeld:   3*defaultBackendBytes + maxBackendOutput,
		})
	})
}

// hasOptions reports whether a transcript is one of a setting, going by its first option; setting 0 takes the rest.
func hasOptions(of, setting []dialogtest.Option) bool {
	return len(setting) == 0 && len(of) == 0 || len(setting) > 0 && slices.Contains(of, setting[0])
}

// heldByBackend adds up the buffers of a machine.
func heldByBackend(m dialog.Machine) int {
	b := m.(*BackendSide)
	held := len(b.reader.Prefix()) + len(b.out.text) + len(b.lent) + len(b.notes) + len(b.list)
	for _, p := range b.pieces {
		held += len(p.text)
	}
	return held
}

// judgeBackend says what no backend may bring the machine to do.
func judgeBackend(s dialogtest.Seen, options []dialogtest.Option) error {
	a := s.Action
	starttls := slices.ContainsFunc(options, func(o dialogtest.Option) bool { return o.Key == "starttls" })
	switch a.Kind {
	case dialog.Write:
		if starttls && !s.TLS && (a.Secret || bytes.Contains(a.Bytes, []byte("x-originating"))) {
			return errors.New("more than STARTTLS said before TLS")
		}
		if !a.Secret && (bytes.Contains(a.Bytes, []byte("alice")) || bytes.Contains(a.Bytes, []byte("c2VjcmV0"))) {
			return errors.New("credentials in a Write that is not Secret")
		}
	case dialog.Done:
		return judgeVerdict(a.Verdict, s.TLS || !starttls)
	}
	return nil
}

// judgeVerdict wants whole lines for the client, no referral among them, and a word that fits the outcome.
func judgeVerdict(v *dialog.Verdict, secure bool) error {
	upper := bytes.ToUpper(slices.Concat(v.Before, v.Answer))
	rest := bytes.ReplaceAll(v.Before, []byte("\r\n"), nil)
	accepted := v.Outcome == dialog.Accepted
	switch {
	case !secure:
		return errors.New("a verdict before TLS")
	case len(v.Before) > 0 && !bytes.HasSuffix(v.Before, []byte("\r\n")), bytes.ContainsAny(rest, "\r\n\x00"):
		return errors.New("lines before the answer are not whole")
	case bytes.ContainsAny(v.Answer, "\r\n\x00"), bytes.ContainsAny(v.Capabilities, "\r\n\x00"):
		return errors.New("answer is not one line")
	case slices.ContainsFunc(bytes.Split(upper, []byte("\r\n")), refers):
		return errors.New("a referral is relayed")
	case accepted != bytes.HasPrefix(v.Answer, []byte("OK ")):
		return errors.New("answer and outcome differ")
	case !accepted && bytes.Contains(upper, []byte("* CAPABILITY")):
		return errors.New("capabilities for a client that is not let in")
	}
	return nil
}

// refers reports whether a line has the code REFERRAL. The same letters further on are text (RFC 3501 7.1).
func refers(line []byte) bool {
	_, text, _ := bytes.Cut(bytes.TrimPrefix(line, []byte("* ")), []byte(" "))
	return bytes.HasPrefix(text, []byte("[REFERRAL "))
}
