package managesieve

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"mailsplice/protocols/dialog"
	"mailsplice/protocols/dialog/dialogtest"
	"mailsplice/protocols/wire"
)

// fuzzBackends are the ways in which the fuzzer sets a machine up, by their number.
var fuzzBackends = [][]dialogtest.Option{
	nil,
	{{Key: "starttls"}, {Key: "forward", Value: "192.0.2.7:40000 198.51.100.1:4190 s1 6 TLS"}},
	{{Key: "hide"}, {Key: "authcid", Value: `"j\xc3\xb6rg"`}, {Key: "password", Value: `"p\xc3\xa4ss"`}, {Key: "maxline", Value: "200"}},
	{{Key: "authcid", Value: "master"}, {Key: "authzid", Value: "alice"}, {Key: "maxbytes", Value: "300"}},
	{{Key: "method", Value: "xoauth2"}, {Key: "frame", Value: `"user=alice\x01auth=Bearer tok\x01\x01"`}},
	{{Key: "method", Value: "oauthbearer"}, {Key: "repeat-frame", Value: "9000"}, {Key: "starttls"}},
}

// maxBackendOutput bounds what one login writes: the frame of 9000 bytes in base64, XCLIENT, commands, two answers to
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
			MaxHeld:   2*defaultBackendBytes + maxBackendOutput,
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
	held := len(b.in.Prefix()) + len(b.out.text) + len(b.lent) + len(b.verdict.Answer)
	for _, p := range b.pieces {
		held += len(p.text)
	}
	return held
}

// judgeBackend says what no backend may bring the machine to do.
func judgeBackend(s dialogtest.Seen, options []dialogtest.Option) error {
	a := s.Action
	starttls := hasKey(options, "starttls")
	switch a.Kind {
	case dialog.Write:
		if starttls && !s.TLS && string(a.Bytes) != "STARTTLS\r\n" {
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

// judgeVerdict wants one line for the client, no referral in it, and a word that fits the outcome.
func judgeVerdict(v *dialog.Verdict, secure bool) error {
	accepted := v.Outcome == dialog.Accepted
	_, literal, _ := wire.ParseLiteral(v.Answer)
	switch {
	case !secure:
		return errors.New("a verdict before TLS")
	case len(v.Before)+len(v.Capabilities) > 0:
		return errors.New("lines ahead of the answer")
	case !oneLine(v.Answer), literal:
		return errors.New("answer is not one line")
	case bytes.HasPrefix(bytes.ToUpper(v.Answer), []byte("NO (REFERRAL")), bytes.HasPrefix(bytes.ToUpper(v.Answer), []byte("OK (REFERRAL")):
		return errors.New("a referral is relayed")
	case accepted != (string(v.Answer) == "OK" || bytes.HasPrefix(v.Answer, []byte("OK "))):
		return errors.New("answer and outcome differ")
	}
	return nil
}
