package mailfake

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// Reply is a server's answer to one command.
type Reply struct {
	Status string // IMAP and ManageSieve: "OK", "NO", "BAD" or "BYE"; POP3: "+OK" or "-ERR"; SMTP and its kin: three digits
	Text   string // what follows it, response code included; of the last line of several
	// Untagged is the lines that came with it: those before it (IMAP and ManageSieve, literals put in as they came), the
	// challenges of a SASL exchange (decoded, but IMAP's as they came), the list behind a POP3 answer, dots undone, or
	// the text of the first lines of an SMTP answer without their code.
	Untagged []string
}

// String is the line with its status, without a tag.
func (r Reply) String() string { return r.Status + " " + r.Text }

// OK says whether the server agreed: OK, +OK or 2yz.
func (r Reply) OK() bool {
	return r.Status == "OK" || r.Status == "+OK" || len(r.Status) == 3 && r.Status[0] == '2'
}

// Find is the first line of Untagged that begins with prefix, or empty.
func (r Reply) Find(prefix string) string {
	for _, l := range r.Untagged {
		if strings.HasPrefix(l, prefix) {
			return l
		}
	}
	return ""
}

// Refusal is the error of a command that was not agreed to.
type Refusal struct {
	Command string // its verb
	Reply   Reply
}

func (r *Refusal) Error() string { return fmt.Sprintf("%s was answered %q", r.Command, r.Reply) }

// refusal makes an answer that is no yes an error. Of the command no more than the verb is kept.
func refusal(text string, r Reply, err error) error {
	if err != nil || r.OK() {
		return err
	}
	verb, _, _ := strings.Cut(text, " ")
	return &Refusal{verb, r}
}

// Initial says where the first SASL frame goes.
type Initial uint8

// The ways.
const (
	Prompted        Initial = iota // after the server's prompt
	InitialResponse                // on the command line (RFC 4959); ManageSieve: quoted
	InitialLiteral                 // ManageSieve: on the command line as a non-synchronising literal
)

// frame64 encodes a SASL frame.
func frame64(frame string) string { return base64.StdEncoding.EncodeToString([]byte(frame)) }

// initialFrame encodes a SASL frame for the command line, where an empty one is "=".
func initialFrame(frame string) string { return or(frame64(frame), "=") }

// PlainFrame is the frame of SASL PLAIN.
func PlainFrame(authz, user, password string) string {
	return authz + "\x00" + user + "\x00" + password
}

// XOAuth2Frame is the frame of XOAUTH2.
func XOAuth2Frame(user, token string) string {
	return "user=" + user + "\x01auth=Bearer " + token + "\x01\x01"
}

// OAuthBearerFrame is the frame of OAUTHBEARER (RFC 7628 3.1).
func OAuthBearerFrame(user, token string) string {
	name := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(user)
	return "n,a=" + name + ",\x01auth=Bearer " + token + "\x01\x01"
}

// exchange64 runs a SASL exchange whose command was sent, with one frame per prompt. read gives the next line and, if it
// is a prompt, its challenge in base64; send answers. Challenges beyond the frames are answered by an empty line. last
// is the line that is no prompt, seen every challenge decoded.
func exchange64(frames []string, read func() (line, challenge string, prompt bool, err error),
	send func(string) error) (last string, seen []string, err error) {
	for {
		line, challenge, prompt, err := read()
		if err != nil || !prompt {
			return line, seen, err
		}
		text, err := base64.StdEncoding.DecodeString(challenge)
		if err != nil {
			return line, seen, fmt.Errorf("challenge %.60q is no base64", line)
		}
		seen = append(seen, string(text))
		answer := ""
		if len(frames) > 0 {
			answer, frames = frame64(frames[0]), frames[1:]
		}
		if err := send(answer); err != nil {
			return line, seen, err
		}
	}
}
