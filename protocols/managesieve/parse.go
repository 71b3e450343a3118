package managesieve

import (
	"bytes"
	"unicode/utf8"

	"mailsplice/protocols/wire"
)

// maxQuoted bounds what stands between the quotes of a string, in bytes, escapes included (RFC 5804 4, quoted). What is
// longer goes as a literal. As a server we take longer ones too, since clients that send tokens do not all count.
const maxQuoted = 1024

// cutVerb parts a command into its verb and what stands behind the blank.
func cutVerb(whole []byte) (verb, args []byte) {
	verb, args, _ = bytes.Cut(whole, []byte{' '})
	return verb, args
}

// bare reports that there are no arguments; blanks at the end of a line are forgiven.
func bare(args []byte) bool { return len(bytes.Trim(args, " ")) == 0 }

// cutStrings reads at most most strings with a blank between them. They are copies, for the caller to zero where they are
// secret.
func cutStrings(args []byte, most int) (list [][]byte, err error) {
	for rest := args; !bare(rest); {
		next, spaced := rest, len(list) == 0
		if !spaced {
			next, spaced = bytes.CutPrefix(rest, []byte{' '})
		}
		var value []byte
		if value, rest, err = wire.CutString(next); err != nil || !spaced || len(list) == most {
			clear(value)
			wipeAll(list)
			return nil, wire.ErrString
		}
		list = append(list, value)
	}
	return list, nil
}

// cutAnswer reads the one string of an answer in an exchange (RFC 5804 2.1), a copy for the caller to zero.
func cutAnswer(whole []byte) ([]byte, error) {
	list, err := cutStrings(whole, 1)
	if err == nil && len(list) == 0 {
		err = wire.ErrString
	}
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

func wipeAll(list [][]byte) {
	for _, value := range list {
		clear(value)
	}
}

// httpMethods are the first words of requests that a browser can be made to send to a mail port (SECURITY 20).
var httpMethods = []string{"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"}

// isHTTP recognizes a request line of HTTP. None of the methods is a verb of ManageSieve.
func isHTTP(line []byte) bool {
	method, rest, found := bytes.Cut(line, []byte{' '})
	for _, name := range httpMethods {
		if string(method) == name {
			return found && (bytes.HasPrefix(rest, []byte("/")) || bytes.Contains(rest, []byte("HTTP/")))
		}
	}
	return false
}

// echoable reports whether a tag can be repeated: it is no longer than a quoted string and one line of text.
func echoable(tag []byte) bool { return len(tag) <= maxQuoted && oneLine(tag) && utf8.Valid(tag) }

// appendString appends s as a server does: quoted if it fits, else as a literal. s holds no NUL, CR or LF.
func appendString[S ~string | ~[]byte](dst []byte, s S) []byte {
	escapes := 0
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			escapes++
		}
	}
	if len(s)+escapes <= maxQuoted {
		return wire.AppendQuoted(dst, s)
	}
	dst = wire.AppendLiteral(dst, wire.Literal{Size: len(s)})
	return append(append(dst, '\r', '\n'), s...)
}

// oneLine reports that text holds no NUL, CR or LF.
func oneLine(text []byte) bool { return !bytes.ContainsAny(text, "\x00\r\n") }

// wholeLines reports that text ends where a line ends, and is not empty.
func wholeLines(text []byte) bool { return bytes.HasSuffix(text, []byte("\r\n")) }

// equalFold compares ASCII words without case.
func equalFold(word []byte, name string) bool { return bytes.EqualFold(word, []byte(name)) }
