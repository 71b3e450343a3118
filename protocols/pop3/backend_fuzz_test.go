package pop3

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
	{{Key: "starttls"}, {Key: "forward", Value: "192.0.2.7:40000 198.51.100.1:110 s1 6 TLS"}, {Key: "utf8"}},
	{{Key: "hide"}, {Key: "authcid", Value: `"j\xc3\xb6rg"`}, {Key: "password", Value: `" p\xc3\xa4ss "`}, {Key: "maxline", Value: "200"}},
	{{Key: "authcid", Value: "master"}, {Key: "authzid", Value: "alice"}, {Key: "maxbytes", Value: "300"}},
	{{Key: "method", Value: "xoauth2"}, {Key: "frame", Value: `"user=alice\x01auth=Bearer tok\x01\x01"`}},
	{{Key: "method", Value: "oauthbearer"}, {Key: "repeat-frame", Value: "9000"}, {Key: "starttls"}},
	{{Key: "forward", Value: "192.0.2.7:40000 198.51.100.1:110 s1 6 TLS"}},
	{{Key: "utf8"}},
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
	f.Fuzz(fuzzBackend)
}

// fuzzBackend runs one program on one setting.
func fuzzBackend(t *testing.T, setting uint8, data []byte) {
	options := fuzzBackends[int(setting)%len(fuzzBackends)]
	newMachine := func() dialog.Machine { return newBackend(t, options) }
	dialogtest.Fuzz(t, newMachine, data, dialogtest.FuzzOptions{
		MaxOutput: maxBackendOutput + 3*len(data),
		OnAction:  func(s dialogtest.Seen) error { return judgeBackend(s, options) },
		Held:      heldByBackend,
		MaxHeld:   2*defaultBackendLine + maxBackendOutput,
	})
}

// TestFuzzSeeds runs every transcript of either side as a program on every setting, not only on its own.
func TestFuzzSeeds(t *testing.T) {
	for _, s := range backends.Seeds(t, "testdata/backend-*.txt") {
		for setting := range fuzzBackends {
			fuzzBackend(t, uint8(setting), s.Data)
		}
	}
	for _, s := range clientSuite.Seeds(t, "testdata/client-*.txt") {
		for policy := range fuzzClients {
			fuzzClient(t, uint8(policy), s.Data)
		}
	}
}

// hasOptions reports whether a transcript is one of a setting, going by its first option; setting 0 takes the rest.
func hasOptions(of, setting []dialogtest.Option) bool {
	return len(setting) == 0 && len(of) == 0 || len(setting) > 0 && slices.Contains(of, setting[0])
}

// heldByBackend adds up the buffers of a machine.
func heldByBackend(m dialog.Machine) int {
	b := m.(*BackendSide)
	held := len(b.reader.Prefix()) + len(b.out.text) + len(b.lent) + len(b.verdict.Answer)
	for _, p := range b.pieces {
		held += len(p.text)
	}
	return held
}

// judgeBackend says what no backend may bring the machine to do.
func judgeBackend(s dialogtest.Seen, options []dialogtest.Option) error {
	a := s.Action
	has := func(key string) bool {
		return slices.ContainsFunc(options, func(o dialogtest.Option) bool { return o.Key == key })
	}
	secure := s.TLS || !has("starttls")
	switch a.Kind {
	case dialog.Write:
		return judgeWrite(a, secure, has("authzid"))
	case dialog.Done:
		return judgeVerdict(a.Verdict, secure)
	}
	return nil
}

// judgeWrite wants nothing but CAPA and STLS before TLS, and secrets marked as such.
func judgeWrite(a dialog.Action, secure, foreign bool) error {
	word := func(w string) bool { return bytes.HasPrefix(a.Bytes, []byte(w)) }
	harmless := word("CAPA\r\n") || word("STLS\r\n") || word("UTF8\r\n") || word("XCLIENT ADDR=192.0.2.7 ")
	prompted := word("AUTH ") && bytes.Count(a.Bytes, []byte{' '}) == 1
	switch {
	case !secure && (a.Secret || !word("CAPA\r\n") && !word("STLS\r\n")):
		return errors.New("more than CAPA and STLS said before TLS")
	case !a.Secret && !harmless && !prompted:
		return errors.New("something else than a known command in a Write that is not Secret")
	case foreign && (word("USER ") || word("AUTH LOGIN")):
		return errors.New("a foreign authorization identity is lost (SECURITY 13)")
	}
	return nil
}

// judgeVerdict wants one line for the client and a word that fits the outcome.
func judgeVerdict(v *dialog.Verdict, secure bool) error {
	switch {
	case !secure:
		return errors.New("a verdict before TLS")
	case !oneLine(v.Answer), len(v.Before) > 0, len(v.Capabilities) > 0:
		return errors.New("more than an answer of one line")
	case v.Outcome == dialog.Accepted && !bytes.HasPrefix(v.Answer, []byte("+OK")):
		return errors.New("accepted without +OK")
	case v.Outcome != dialog.Accepted && len(v.Answer) > 0 && !bytes.HasPrefix(v.Answer, []byte("-ERR ")):
		return errors.New("refused without -ERR")
	case v.NotOffered && v.Outcome != dialog.Refused:
		return errors.New("not offered and not refused")
	}
	return nil
}
