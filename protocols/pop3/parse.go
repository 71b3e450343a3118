package pop3

import "bytes"

// request is one command as it was parsed; verb and args are slices of the input.
type request struct {
	verb, args []byte
	spaced     bool // a blank stands behind the verb
}

// parseRequest takes a line apart. The arguments are everything behind the first blank as it came: a password keeps its
// blanks (SPEC 3.2).
func parseRequest(line []byte) request {
	verb, args, spaced := bytes.Cut(line, []byte{' '})
	return request{verb, args, spaced}
}

// bare reports that there are no arguments; blanks at the end of a line are forgiven.
func (r request) bare() bool { return len(bytes.Trim(r.args, " ")) == 0 }

// httpMethods are the first words of requests that a browser can be made to send to a mail port (SECURITY 20). None is a
// command of POP3.
var httpMethods = []string{"GET", "POST", "PUT", "HEAD", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PRI"}

// isHTTP recognizes a request line of HTTP.
func isHTTP(r request) bool {
	for _, name := range httpMethods {
		if string(r.verb) == name {
			return bytes.HasPrefix(r.args, []byte("/")) || bytes.Contains(r.args, []byte("HTTP/"))
		}
	}
	return false
}

// oneLine reports that text holds no NUL, CR or LF.
func oneLine(text []byte) bool { return !bytes.ContainsAny(text, "\x00\r\n") }
